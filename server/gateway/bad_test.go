package gateway

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/fault"
)

// refused sends a request and makes sure that it went no further.
func refused(t *testing.T, s *site, code int, reason fault.Reason, method, path, body string, head ...string) reply {
	t.Helper()
	var before int
	s.hub.set(func(h *hub) { before = h.calls })
	r := s.do(method, path, body, head...)
	r.want(t, code, reason)
	s.hub.set(func(h *hub) {
		if h.calls != before {
			t.Errorf("%s %s reached the hub", method, path)
		}
	})
	return r
}

func TestBadBodies(t *testing.T) {
	s := openDefault(t)
	for name, body := range map[string]string{
		"not JSON":               "phoneNumber=" + canary,
		"space only":             "  \n",
		"cut":                    `{"phoneNumber":"` + canary,
		"NUL":                    "\x00",
		"NUL in a string":        "{\"phoneNumber\":\"" + canary + "\x00\"}",
		"NUL after":              "{}\x00",
		"bad UTF-8":              "{\"phoneNumber\":\"" + canary + "\xff\"}",
		"bad UTF-8 in a name":    "{\"" + canary + "\xff\":1}",
		"byte order mark":        "\ufeff{}",
		"lone surrogate":         `{"phoneNumber":"\ud800` + canary + `"}`,
		"UTF-16":                 "{\x00}\x00",
		"depth 10,000":           strings.Repeat("[", 10000),
		"depth in a field":       `{"consent":{"scopes":` + strings.Repeat("[", 10000),
		"depth of objects":       strings.Repeat(`{"a":`, 3000),
		"duplicate keys":         `{"phoneNumber":"` + canary + `","phoneNumber":"1"}`,
		"duplicate, other name":  `{"phoneNumber":"` + canary + `","phone_number":"1"}`,
		"duplicate, escaped":     `{"phoneNumber":"` + canary + `","phone\u004eumber":"1"}`,
		"duplicate, nested":      `{"consent":{"version":"1","version":"` + canary + `"}}`,
		"unknown field":          `{"` + canary + `":"` + canary + `"}`,
		"unknown field, nested":  `{"consent":{"` + canary + `":1}}`,
		"case of a field":        `{"PhoneNumber":"` + canary + `"}`,
		"number for a string":    `{"phoneNumber":` + canary + `}`,
		"1e400":                  `{"phoneNumber":1e400}`,
		"bool for a string":      `{"phoneNumber":true}`,
		"object for a string":    `{"phoneNumber":{"` + canary + `":1}}`,
		"list for a string":      `{"phoneNumber":["` + canary + `"]}`,
		"string for an object":   `{"consent":"` + canary + `"}`,
		"string for a list":      `{"consent":{"scopes":"` + canary + `"}}`,
		"null in a list":         `{"consent":{"scopes":[null]}}`,
		"null":                   "null",
		"array":                  `["` + canary + `"]`,
		"number":                 canary,
		"string":                 `"` + canary + `"`,
		"trailing value":         `{} {"phoneNumber":"` + canary + `"}`,
		"trailing text":          `{}` + canary,
		"trailing comma":         `{"phoneNumber":"` + canary + `",}`,
		"comment":                `{} // ` + canary,
		"single quotes":          `{'phoneNumber':'` + canary + `'}`,
		"NaN":                    `{"phoneNumber":NaN}`,
		"extension":              `{"[` + canary + `]":1}`,
		"type URL":               `{"@type":"` + canary + `"}`,
		"raw newline in strings": "{\"phoneNumber\":\"" + canary + "\n\"}",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, &site{t: t, hub: s.hub, addr: s.addr}, 400, fault.BodyInvalid, "POST", "/v1/verifications", body)
		})
	}
	// The path says which verification is meant; a body must not say another.
	refused(t, s, 400, fault.BodyInvalid, "POST", "/v1/verifications/V:confirm", `{"verificationId":"W","code":"123456"}`)
	refused(t, s, 400, fault.BodyInvalid, "GET", "/v1/consent", `{}`)
	refused(t, s, 400, fault.BodyInvalid, "POST", "/v1/lookups", `{"platformIds":"`+canary+`"}`)
}

func TestBadHeaders(t *testing.T) {
	s := openDefault(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write([]byte(`{"requestId":"` + strings.Repeat(" ", 10<<20) + `"}`))
	_ = z.Close()
	for name, head := range map[string]string{
		"no type":         "Content-Type: ",
		"form":            "Content-Type: application/x-www-form-urlencoded",
		"text":            "Content-Type: text/plain",
		"other charset":   "Content-Type: application/json; charset=gbk",
		"other parameter": "Content-Type: application/json; v=" + canary,
		"unreadable type": "Content-Type: " + canary + "/;;",
		"suffix":          "Content-Type: application/merge-patch+json",
		"gzip":            "Content-Encoding: gzip",
		"two encodings":   "Content-Encoding: identity, gzip",
		"unknown":         "Content-Encoding: " + canary,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, &site{t: t, hub: s.hub, addr: s.addr}, 415, fault.ContentTypeInvalid, "POST", "/v1/lookups", `{"requestId":"a"}`, head)
		})
	}
	if bomb.Len() > bodyLimit {
		t.Fatalf("the bomb has %d bytes", bomb.Len())
	}
	refused(t, s, 415, fault.ContentTypeInvalid, "POST", "/v1/lookups", bomb.String(), "Content-Encoding: gzip")
}

func TestTooLarge(t *testing.T) {
	s := openDefault(t)
	over := `{"requestId":"` + strings.Repeat("a", bodyLimit) + `"}`
	refused(t, s, 413, fault.BodyTooLarge, "POST", "/v1/lookups", over)
	refused(t, s, 413, fault.BodyTooLarge, "POST", "/v1/lookups", `{"requestId":"`+strings.Repeat("a", 1<<20)+`"}`)
	refused(t, s, 413, fault.BodyTooLarge, "POST", "/v1/unbinds/U:cancel", over)
	refused(t, s, 413, fault.BodyTooLarge, "GET", "/v1/consent", over)
	if limitFor(batchPath) != 256<<10 || limitFor("/v1/lookups") != 16<<10 {
		t.Error("limits")
	}
}

func TestBadQueries(t *testing.T) {
	s := openDefault(t)
	const lookup = "/v1/lookups/L?"
	for _, path := range []string{
		lookup + canary,
		lookup + canary + "=1",
		lookup + "phoneNumber=" + canary,
		lookup + "since_revision=3", // the contract's names only
		lookup + "sinceRevision=1&sinceRevision=2",
		lookup + "sinceRevision=" + canary,
		lookup + "sinceRevision=",
		lookup + "sinceRevision=1.5",
		lookup + "sinceRevision=1e400",
		lookup + "sinceRevision=2147483648",
		lookup + "sinceRevision=0x10",
		lookup + "wait=" + canary,
		lookup + "wait=10",
		lookup + "wait=1e400s",
		lookup + "wait=10s&wait=10s",
		lookup + "wait.seconds=10",
		lookup + "lookupId=" + canary,
		lookup + "lookup_id=" + canary,
		lookup + "wait=10s;sinceRevision=1",
		lookup + "wait=%zz",
		lookup + "%zz=" + canary,
		"/v1/platforms?pageToken=%ff" + canary,
		"/v1/platforms?pageSize=" + canary + canary,
		"/v1/platforms?pageToken[" + canary + "]=1",
		"/v1/consent?x=" + canary,
		"/v1/unbinds/U?sinceRevision=1",
		"/v1/lookups/L:watch?wait=10s",
		"/v1/coverage?platform=" + canary,
	} {
		refused(t, s, 400, fault.QueryInvalid, "GET", path, "")
	}
	// A field of ours is named, so that a client's author finds the mistake.
	r := refused(t, s, 400, fault.QueryInvalid, "GET", lookup+"wait="+canary, "")
	if !strings.Contains(r.text, `"wait"`) {
		t.Errorf("the field is not named: %s", r.text)
	}
	refused(t, s, 400, fault.QueryInvalid, "POST", "/v1/lookups?requestId="+canary, "{}")
	refused(t, s, 400, fault.QueryInvalid, "POST", "/v1/verifications/V:confirm?code="+canary, "{}")
}

func TestUnknownPaths(t *testing.T) {
	s := openDefault(t)
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v2/consent", "/v1/" + canary, "/V1/consent", "/v1/consent/", "/v1/consent/" + canary,
		"/v1/lookups/", "/v1/lookups/" + canary + ":", "/v1/lookups/" + canary + ":unwatch", "/v1/lookups/:watch",
		"/v1/lookups/a:b:watch", "/v1/lookups:watch", "/v1/lookups/" + strings.Repeat("a", maxID+1),
		"/v1%2Fconsent", "/v1/%63onsent", "/%76%31/consent", "/v1/lookups/%2e%2e", "/v1/lookups/%2E%2E/consent",
		"/v1/lookups/a%2Fb", "/v1/lookups/a%252Fb", "/v1/lookups/%ff", "/v1/lookups/%00", "/v1/lookups/L%3Awatch",
		"/v1/lookups/..", "/v1/lookups/.", "/v1/lookups/../consent", "/v1/./consent", "//v1/consent", "/v1//consent",
		"/v1/lookups//", "/v1/lookups/" + canary + "%0d%0aX-A:b", "/v1/lookups/a b", "/v1/lookups/a;b", "/v1/lookups/中",
		"/livez/", "/openapi.json", "/metrics", "/debug/pprof/", "/v1/lookups/{lookupId}",
	} {
		if strings.Contains(path, " ") {
			path = strings.ReplaceAll(path, " ", "%20")
		}
		refused(t, s, 404, fault.PathUnknown, "GET", path, "")
	}
	refused(t, s, 404, fault.PathUnknown, "POST", "/v1/"+canary, `{"a":"`+canary+`"}`)
}

func TestWrongMethods(t *testing.T) {
	s := openDefault(t)
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/v1/consent", "GET"}, {"DELETE", "/v1/lookups", "POST"}, {"GET", "/v1/lookups", "POST"},
		{"PATCH", "/v1/unbinds", "GET, POST"}, {"PUT", "/v1/unbinds/U", "GET"}, {"GET", "/v1/unbinds/U:cancel", "POST"},
		{"OPTIONS", "/v1/lookups/L", "GET"}, {"TRACE", "/v1/lookups/L", "GET"}, {"HEAD", "/v1/consent", "GET"},
		{"OPTIONS", "/v1/unbinds", "GET, POST"}, {canary[:3] + "X", "/v1/unbinds", "GET, POST"},
		{"POST", "/livez", "GET, HEAD"}, {"TRACE", "/readyz", "GET, HEAD"},
	} {
		head := []string{"Origin: null", "Access-Control-Request-Method: POST", "X-Echo: " + canary}
		if c.method == "HEAD" {
			if r := s.do(c.method, c.path, "", head...); r.code != 405 || r.header.Get("Allow") != c.allow || r.text != "" {
				t.Errorf("HEAD: %d %v %q", r.code, r.header, r.text)
			}
			continue
		}
		r := refused(t, s, 405, fault.MethodNotAllowed, c.method, c.path, "", head...)
		if r.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, r.header.Get("Allow"), c.allow)
		}
	}
	// The method is the one of the request line.
	refused(t, s, 405, fault.MethodNotAllowed, "POST", "/v1/consent", "", "X-HTTP-Method-Override: GET")
	refused(t, s, 405, fault.MethodNotAllowed, "POST", "/v1/consent", "a=b",
		"X-HTTP-Method-Override: GET", "Content-Type: application/x-www-form-urlencoded")
	refused(t, s, 405, fault.MethodNotAllowed, "POST", "/v1/platforms", "pageSize=1",
		"Content-Type: application/x-www-form-urlencoded")
}
