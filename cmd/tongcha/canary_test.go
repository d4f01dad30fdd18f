package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// The canary: a number and a suffix that stand nowhere by chance.
const (
	canaryNumber = "17729384651"
	canarySuffix = "27839X"
)

// secrets is what must not be found, by name.
type secrets map[string][]byte

// forms adds a text in every encoding somebody might have put it into.
func (s secrets) forms(name, text string) {
	s[name] = []byte(text)
	s[name+" in hex"] = []byte(hex.EncodeToString([]byte(text)))
	s[name+" in HEX"] = bytes.ToUpper(s[name+" in hex"])
	for i := range 3 {
		// The middle of the encoding, which the bytes around don't change.
		b := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", i) + text))
		s[fmt.Sprintf("%s in base64/%d", name, i)] = []byte(b[(i*8+5)/6 : len(b)-1])
	}
	backwards := []byte(text)
	slices.Reverse(backwards)
	s[name+" backwards"] = backwards
	var le, be []byte
	for _, u := range utf16.Encode([]rune(text)) {
		le, be = append(le, byte(u), byte(u>>8)), append(be, byte(u>>8), byte(u))
	}
	s[name+" in UTF-16LE"], s[name+" in UTF-16BE"] = le, be
}

// packed adds the digits two to a byte.
func (s secrets) packed(name, digits string) {
	if b, err := hex.DecodeString(digits + strings.Repeat("f", len(digits)%2)); err == nil {
		s[name+" packed"] = b[:len(digits)/2]
	}
}

// missing fails for every secret found in the text. A code of six digits counts
// only where it stands alone, since figures hold such runs by chance.
func (s secrets) missing(t *testing.T, where string, text []byte) {
	t.Helper()
	for name, secret := range s {
		found := bytes.Contains(text, secret)
		if strings.HasPrefix(name, "code") && len(secret) == 6 {
			found = regexp.MustCompile(`(^|[^0-9.])` + string(secret) + `([^0-9.]|$)`).Match(text)
		}
		if found {
			t.Errorf("%s holds the %s", where, name)
		}
	}
}

// TestCanary goes a person's whole way, right and wrong, at the most talkative
// log level, and then looks for what must be nowhere.
func TestCanary(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	args := []string{"--log-level", "debug", "--accounts", write(t, "accounts.csv", canaryAccounts()), "--holders",
		write(t, "holders.csv", "phone_number,id_suffix,holder_since\n"+canaryNumber+","+canarySuffix+",2020-01-01\n")}
	h := startDev(t, data, args...)
	hidden := make(secrets)
	hidden.forms("number", canaryNumber)
	hidden.packed("number", canaryNumber)
	hidden.forms("suffix", canarySuffix)

	replies := canaryErrors(t, h, hidden)
	p := h.verified(canaryNumber, canarySuffix)
	replies = append(replies, canaryJourney(t, p)...)
	hidden.forms("token", p.token)
	for _, m := range regexp.MustCompile(`(?m)^SMS to .*?(\d{6})`).FindAllStringSubmatch(h.stdout.String(), -1) {
		hidden.forms("code "+m[1], m[1])
	}
	for _, r := range replies {
		hidden.missing(t, fmt.Sprintf("the answer %d %s", r.status, r.reason()), r.body)
	}
	hidden.missing(t, "/metrics", h.do("GET", "/metrics", "", nil).body)
	hidden.missing(t, "/v1/coverage", h.do("GET", "/v1/coverage", "", nil).body)
	for _, args := range [][]string{{"unbind", "list", "-o", "json"}, {"platform", "list", "-o", "json"}, {"queue", "stats", "-o", "json"}} {
		hidden.missing(t, strings.Join(args, " "), []byte(h.cli(args...).must(t).stdout))
	}
	hidden.missingFromFolder(t, filepath.Join(data, "hub"))
	h.kill()
	hidden.missingFromFolder(t, filepath.Join(data, "hub"))
	h = startDev(t, data, args...)
	p.at(h).lookUp("mall")
	h.stop()
	hidden.missingFromFolder(t, filepath.Join(data, "hub"))
	hidden.missing(t, "standard error", []byte(h.stderr.String()))
	simulated, err := os.ReadFile(filepath.Join(data, "simulated", "holders.ndjson"))
	if err != nil || !bytes.Contains(simulated, hidden["number"]) || !bytes.Contains(simulated, hidden["suffix"]) {
		t.Errorf("the canary is not even where it has to be: %v", err)
	}
}

func canaryAccounts() string {
	text := "platform_id,phone_number,product,bound_at,id_suffix\n"
	for _, id := range []string{"mall", "sim-sync", "sim-async", "sim-refusing", "sim-redirecting", "sim-flapping", "sim-silent"} {
		text += id + "," + canaryNumber + ",账号,2015-01-01," + canarySuffix + "\n"
	}
	return text
}

// canaryErrors puts the canary into every place where it is wrong. What stands
// on the hub's output and standard error is looked at when the hub has ended.
func canaryErrors(t *testing.T, h *hub, hidden secrets) []reply {
	t.Helper()
	t.Cleanup(func() {
		output := regexp.MustCompile(`(?m)^(SMS to 177\*\*\*\*4651: )\D*(\d{6})\D.*$`).ReplaceAll([]byte(h.stdout.String()), []byte("$1"))
		hidden.missing(t, "standard output", output)
		hidden.missing(t, "standard error", []byte(h.stderr.String()))
		if !strings.Contains(h.stderr.String(), `"level":"DEBUG"`) {
			t.Error("nothing was logged at the level debug")
		}
	})
	p := person{hub: h, number: canaryNumber, suffix: canarySuffix, token: canaryNumber}
	wrong := p
	wrong.suffix = "010010"
	id, code := wrong.askCode()
	replies := []reply{
		wrong.confirm(id, code), wrong.confirm(id, "000000"), wrong.confirm(id, canaryNumber), wrong.confirm(canaryNumber, code),
		h.do("POST", "/v1/verifications", "", p.request()), // too soon
		h.do("POST", "/v1/verifications", "", `{"phoneNumber":`+canaryNumber+`}`),
		h.do("POST", "/v1/verifications", "", `{"phoneNumber":"`+canaryNumber+`"`),
		h.do("POST", "/v1/verifications", "", `{"`+canaryNumber+`":"`+canarySuffix+`"}`),
		h.do("POST", "/v1/verifications", "", map[string]any{"phoneNumber": canaryNumber + "0", "idSuffix": canarySuffix}),
		h.do("POST", "/v1/verifications", "", map[string]any{"phoneNumber": canaryNumber, "idSuffix": canarySuffix, "documentType": canarySuffix}),
		h.do("POST", "/v1/verifications", "", map[string]any{"phoneNumber": canaryNumber, "idSuffix": canarySuffix, "channel": canaryNumber}),
		h.do("POST", "/v1/verifications", "", p.request(), "Content-Type", "text/"+canaryNumber),
		h.do("POST", "/v1/verifications", "", p.request(), "X-Forwarded-For", canaryNumber, "Grpc-Metadata-Number", canaryNumber, "User-Agent", canaryNumber),
		h.do("GET", "/v1/lookups/"+canaryNumber, canaryNumber, nil),
		h.do("GET", "/v1/lookups/"+canaryNumber+"?"+canaryNumber+"="+canarySuffix, "", nil),
		h.do("GET", "/"+canaryNumber, canaryNumber, nil),
		h.do("PUT", "/v1/verifications/"+canaryNumber+":confirm", "", nil),
		p.post("/v1/lookups", map[string]any{"requestId": canaryNumber}),
	}
	for i, r := range replies {
		if i != 12 && (r.status < 400 || r.reason() == "") {
			t.Errorf("wrong request %d was answered with %d %s", i, r.status, r.body)
		}
	}
	for _, args := range [][]string{
		{"platform", "add", canaryNumber + "!", "--address", "127.0.0.1:1", "--name", "x", "--category", "实用工具"},
		{"unbind", "show", canaryNumber}, {"platform", "show", canaryNumber}, {"unbind", "list", "--state", canaryNumber},
	} {
		r := h.cli(args...)
		if r.code == 0 {
			t.Errorf("%v: exit code 0", args)
		}
		hidden.missing(t, strings.Join(args[:2], " "), []byte(r.stdout+r.stderr))
	}
	return replies
}

// canaryJourney looks up and unbinds, with mistakes on the way.
func canaryJourney(t *testing.T, p person) []reply {
	t.Helper()
	l := p.lookUp()
	platforms := []string{"mall", "sim-sync", "sim-async", "sim-refusing", "sim-redirecting"}
	orders := p.order(l.LookupID, "canary", platforms...)
	replies := []reply{
		p.post("/v1/unbinds", map[string]any{"lookupId": canaryNumber, "platformIds": platforms, "requestId": "x"}),
		p.post("/v1/unbinds", map[string]any{"lookupId": l.LookupID, "platformIds": []string{canaryNumber}, "requestId": "y"}),
		p.post("/v1/unbinds", map[string]any{"lookupId": l.LookupID, "platformIds": platforms, "requestId": canaryNumber + "号"}),
		p.get("/v1/lookups/" + l.LookupID), p.get("/v1/unbinds"), p.get("/v1/unbinds/" + canaryNumber),
		p.get("/v1/unbinds?pageToken=" + canaryNumber), p.get("/v1/lookups/" + l.LookupID + "?wait=" + canaryNumber + "s"),
	}
	for _, id := range platforms {
		o := p.awaitOrder(orders[id].UnbindID, soon(), "UNBIND_STATE_COMPLETED", "UNBIND_STATE_REFUSED")
		if o.State == "UNBIND_STATE_REFUSED" && id != "sim-refusing" {
			t.Errorf("%s: %+v", id, o)
		}
	}
	return replies
}

// missingFromFolder looks into every file below dir.
func (s secrets) missingFromFolder(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		files++
		s.missing(t, filepath.Base(path), body)
		s.missing(t, "a file's name", []byte(d.Name()))
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files in %s: %v", files, dir, err)
	}
}

// TestSecrets makes sure that the search would find something.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := make(secrets)
	s.forms("number", canaryNumber)
	for i := range 4 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("+", i) + canaryNumber + "and so on"))
		found := false
		for j := range 3 {
			found = found || strings.Contains(text, string(s[fmt.Sprintf("number in base64/%d", j)]))
		}
		if !found {
			t.Errorf("the number is not seen in %s", text)
		}
	}
	if string(s["number backwards"]) != "15648392771" || len(s["number in UTF-16LE"]) != 22 {
		t.Errorf("forms: %q", s)
	}
}
