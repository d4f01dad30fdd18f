package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The bodies of REST, written down anew from the design rather than taken from
// the generated code, so that a renamed field is seen.
type (
	lookupBody struct {
		LookupID string       `json:"lookupId"`
		State    string       `json:"state"`
		Revision int          `json:"revision"`
		Asked    int          `json:"asked"`
		Answered int          `json:"answered"`
		Silent   int          `json:"silent"`
		Answers  []answerBody `json:"answers"`
		FinalBy  time.Time    `json:"finalBy"`
	}
	answerBody struct {
		PlatformID        string    `json:"platformId"`
		DisplayName       string    `json:"displayName"`
		Category          string    `json:"category"`
		State             string    `json:"state"`
		AccountCount      *int      `json:"accountCount"`
		BoundBeforeHolder *int      `json:"boundBeforeHolder"`
		BoundSinceHolder  *int      `json:"boundSinceHolder"`
		Products          []string  `json:"products"`
		Functions         []string  `json:"functions"`
		AnswerTime        time.Time `json:"answerTime"`
	}
	orderBody struct {
		UnbindID     string        `json:"unbindId"`
		PlatformID   string        `json:"platformId"`
		State        string        `json:"state"`
		DueTime      time.Time     `json:"dueTime"`
		AccountCount int           `json:"accountCount"`
		ActionURL    string        `json:"actionUrl"`
		Receipt      string        `json:"receipt"`
		NextStep     string        `json:"nextStep"`
		Appeals      int           `json:"appeals"`
		History      []historyBody `json:"history"`
		Refusal      struct {
			Reason   string `json:"reason"`
			Text     string `json:"text"`
			NextStep string `json:"nextStep"`
		} `json:"refusal"`
		Error struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"error"`
	}
	historyBody struct {
		State   string `json:"state"`
		Attempt int    `json:"attempt"`
		Reason  string `json:"reason"`
	}
	ordersBody struct {
		Unbinds []orderBody `json:"unbinds"`
	}
	statusBody struct {
		Message string `json:"message"`
		Details []struct {
			Reason   string            `json:"reason"`
			Domain   string            `json:"domain"`
			Metadata map[string]string `json:"metadata"`
		} `json:"details"`
	}
)

// reply is an answer over HTTP.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// reason is the machine-readable reason of an error; empty for a success.
func (r reply) reason() string {
	var s statusBody
	if json.Unmarshal(r.body, &s) != nil {
		return ""
	}
	for _, d := range s.Details {
		if d.Domain == "tongcha" {
			return d.Reason
		}
	}
	return ""
}

var client = &http.Client{Timeout: 40 * time.Second}

// do sends a request; body may be nil, a string that is sent as it is, or a
// value that is sent as JSON.
func (h *hub) do(method, path, token string, body any, headers ...string) reply {
	h.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			h.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, h.base+path, content)
	if err != nil {
		h.t.Fatal(err)
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, got}
}

// want decodes a success.
func want[T any](t *testing.T, r reply) T {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	return decode[T](t, r.body)
}

// wantError checks an error's status and reason.
func wantError(t *testing.T, r reply, status int, reason string) {
	t.Helper()
	if r.status != status || r.reason() != reason {
		t.Fatalf("got %d %s, want %d %s: %s", r.status, r.reason(), status, reason, r.body)
	}
}

// person is somebody with a number; token is set once it is proved.
type person struct {
	hub            *hub
	number, suffix string
	token          string
	holderSince    *time.Time
}

// at is the same person at another run of the hub.
func (p person) at(h *hub) person {
	p.hub = h
	return p
}

// request is the body of POST /v1/verifications.
func (p person) request() map[string]any {
	return map[string]any{
		"phoneNumber": p.number, "idSuffix": p.suffix,
		"consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP", "UNBIND"}},
	}
}

// askCode asks for a code and reads it from the hub's output. When one was sent
// a moment ago it asks again as soon as the hub allows.
func (p person) askCode() (verificationID, code string) {
	h := p.hub
	h.t.Helper()
	var r reply
	mark := 0
	for range 5 {
		mark = h.stdout.mark()
		if r = h.do("POST", "/v1/verifications", "", p.request()); r.reason() != "CODE_RESEND_TOO_SOON" {
			break
		}
		seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
		if err != nil {
			h.t.Fatalf("no Retry-After: %v", r.header)
		}
		<-time.After(time.Duration(seconds) * time.Second)
	}
	v := want[struct {
		VerificationID    string `json:"verificationId"`
		MaskedPhoneNumber string `json:"maskedPhoneNumber"`
	}](h.t, r)
	sms := h.line(mark, `^SMS to (\S+): \D*(\d{6})\D`)
	if sms[1] != v.MaskedPhoneNumber {
		h.t.Fatalf("code for %s, want %s", sms[1], v.MaskedPhoneNumber)
	}
	return v.VerificationID, sms[2]
}

// confirm sends a code.
func (p person) confirm(verificationID, code string) reply {
	p.hub.t.Helper()
	return p.hub.do("POST", "/v1/verifications/"+verificationID+":confirm", "", map[string]string{"code": code})
}

// verified proves the number.
func (h *hub) verified(number, suffix string) person {
	h.t.Helper()
	p := person{hub: h, number: number, suffix: suffix}
	id, code := p.askCode()
	s := want[struct {
		SessionToken string     `json:"sessionToken"`
		HolderSince  *time.Time `json:"holderSince"`
	}](h.t, p.confirm(id, code))
	p.token, p.holderSince = s.SessionToken, s.HolderSince
	return p
}

func (p person) get(path string) reply {
	p.hub.t.Helper()
	return p.hub.do("GET", path, p.token, nil)
}

func (p person) post(path string, body any) reply {
	p.hub.t.Helper()
	return p.hub.do("POST", path, p.token, body)
}

// lookUp asks the platforms, all of them if none is given, and waits until the
// lookup is complete.
func (p person) lookUp(platforms ...string) lookupBody {
	t := p.hub.t
	t.Helper()
	l := want[lookupBody](t, p.post("/v1/lookups", map[string]any{"platformIds": platforms}))
	for end := time.Now().Add(patience); l.State != "LOOKUP_STATE_COMPLETE"; {
		if time.Now().After(end) {
			t.Fatalf("lookup not complete: %+v", l)
		}
		l = want[lookupBody](t, p.get(fmt.Sprintf("/v1/lookups/%s?wait=10s&sinceRevision=%d", l.LookupID, l.Revision)))
	}
	return l
}

// lookUpAnswered looks a platform up until it answers, which one that flaps
// does not do every time.
func (p person) lookUpAnswered(platforms ...string) lookupBody {
	p.hub.t.Helper()
	for range 4 {
		if l := p.lookUp(platforms...); l.Silent == 0 {
			return l
		}
	}
	p.hub.t.Fatalf("%v did not answer", platforms)
	return lookupBody{}
}

// row is a platform's answer.
func (l lookupBody) row(t *testing.T, platform string) answerBody {
	t.Helper()
	i := slices.IndexFunc(l.Answers, func(a answerBody) bool { return a.PlatformID == platform })
	if i < 0 {
		t.Fatalf("no row of %s in %+v", platform, l)
	}
	return l.Answers[i]
}

// order makes unbind orders and returns them by platform.
func (p person) order(lookupID, requestID string, platforms ...string) map[string]orderBody {
	t := p.hub.t
	t.Helper()
	got := want[ordersBody](t, p.post("/v1/unbinds", map[string]any{
		"lookupId": lookupID, "platformIds": platforms, "requestId": requestID,
	}))
	by := make(map[string]orderBody)
	for _, o := range got.Unbinds {
		by[o.PlatformID] = o
	}
	if len(by) != len(platforms) || len(got.Unbinds) != len(platforms) {
		t.Fatalf("%d orders for %v: %+v", len(got.Unbinds), platforms, got)
	}
	return by
}

// awaitOrder waits until the order is in one of the states.
func (p person) awaitOrder(id string, until time.Time, states ...string) orderBody {
	t := p.hub.t
	t.Helper()
	for {
		o := want[orderBody](t, p.get("/v1/unbinds/"+id+"?wait=0.2s"))
		if slices.Contains(states, o.State) {
			return o
		}
		if time.Now().After(until) {
			t.Fatalf("%s is %s, want %v: %+v", o.PlatformID, o.State, states, o)
		}
	}
}

// soon is when patience ends.
func soon() time.Time { return time.Now().Add(patience) }
