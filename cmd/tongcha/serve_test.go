package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// smsGateway is an operator's gateway that keeps what it is sent.
type smsGateway struct {
	*httptest.Server
	sent  chan map[string]string
	token string
	fails atomic.Bool
}

func newGateway(t *testing.T, token string) *smsGateway {
	t.Helper()
	g := &smsGateway{sent: make(chan map[string]string, 10), token: token}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message map[string]string
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+g.token {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if g.fails.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		g.sent <- message
	}))
	t.Cleanup(g.Close)
	return g
}

// startServe starts `tongcha serve` on free ports and waits until it says where.
func startServe(t *testing.T, data string, args ...string) (h *hub, operations string) {
	t.Helper()
	all := append([]string{"serve", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, args...)
	h = launch(t, command(t, all...), data)
	line := h.wait(h.stderr, 0, `"msg":"serving"`+`,"http":"([^"]+)","grpc":"([^"]+)","metrics":"([^"]+)"`)
	h.base, h.grpcAddress = "http://"+line[1], line[2]
	return h, "http://" + line[3]
}

// TestServeRefuses: what can't be served safely is not served.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.json")
	tongcha(t, "keys", "new", keys).must(t)
	gateway := "http://127.0.0.1:1/send"
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing":            {nil, "no key file: give --keys, made with: tongcha keys new FILE"},
		"no keys":            {[]string{"--sms-gateway", gateway}, "no key file"},
		"no gateway":         {[]string{"--keys", keys}, "no way to send codes: give --sms-gateway"},
		"keys are missing":   {[]string{"--sms-gateway", gateway, "--keys", keys + "x"}, "make one with: tongcha keys new"},
		"keys are no keys":   {[]string{"--sms-gateway", gateway, "--keys", write(t, "keys.json", "{}")}, "key"},
		"gateway in clear":   {[]string{"--keys", keys, "--sms-gateway", "http://sms.example/send"}, "must be https"},
		"token is missing":   {[]string{"--keys", keys, "--sms-gateway", gateway, "--sms-token-file", "nowhere"}, "token"},
		"REST in clear":      {[]string{"--keys", keys, "--sms-gateway", gateway, "--http", "0.0.0.0:0"}, "--http-cert"},
		"certificate alone":  {[]string{"--keys", keys, "--sms-gateway", gateway, "--http-cert", keys}, "go together"},
		"carrier without ID": {[]string{"--keys", keys, "--sms-gateway", gateway, "--carrier", "127.0.0.1:1"}, "ID=HOST:PORT"},
		"proxy":              {[]string{"--keys", keys, "--sms-gateway", gateway, "--trusted-proxy", "proxy"}, "10.0.0.0/8"},
		"collector":          {[]string{"--keys", keys, "--sms-gateway", gateway, "--trace-otlp", "collector"}, "--trace-otlp must be"},
		"nothing to sample":  {[]string{"--keys", keys, "--sms-gateway", gateway, "--trace-sample", "0.1"}, "--trace-otlp"},
		"no lookups":         {[]string{"--keys", keys, "--sms-gateway", gateway, "--max-lookups", "0"}, "--max-lookups"},
		"calendar":           {[]string{"--keys", keys, "--sms-gateway", gateway, "--calendar", "nowhere"}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			r := tongcha(t, append([]string{"serve", "--data", data, "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, c.args...)...)
			code := exitUsage
			if name == "keys are no keys" { // it takes a start to see what is in the file
				code = exitFailure
			}
			if r.code != code || !strings.Contains(r.stderr, c.says) || strings.Contains(r.stderr, `"msg":"serving"`) {
				t.Errorf("exit code %d, want %d and %q: %s", r.code, code, c.says, r.stderr)
			}
			if _, err := os.Stat(filepath.Join(data, "hub", "tongcha.db")); !os.IsNotExist(err) {
				t.Errorf("a refused start left a database: %v", err)
			}
		})
	}
}

// TestServe runs a hub as an operator would: own keys, own SMS gateway, no
// carrier.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, data := filepath.Join(dir, "keys.json"), filepath.Join(dir, "data")
	tongcha(t, "keys", "new", keys).must(t)
	gateway := newGateway(t, "tell-nobody")
	args := []string{"--keys", keys, "--sms-gateway", gateway.URL, "--sms-token-file", write(t, "token", "tell-nobody\n")}
	h, operations := startServe(t, data, args...)
	h.wait(h.stderr, 0, `"level":"WARN".*no carrier is configured`)
	checkDoors(t, h, operations)
	h.expected = "SMS_UNAVAILABLE"

	p := serveVerified(t, h, gateway)
	if p.holderSince != nil {
		t.Errorf("nobody attested, but the holder is known since %v", p.holderSince)
	}
	if l := p.lookUp(); len(l.Answers) != 0 || l.Asked != 0 {
		t.Errorf("a lookup without platforms: %+v", l)
	}
	o := new(office)
	o.open.Store(true)
	o.join(t, h, "office")
	l := p.lookUp()
	r := l.row(t, "office")
	if r.State != "ANSWER_STATE_BOUND" || *r.AccountCount != 1 || r.BoundBeforeHolder != nil || r.BoundSinceHolder != nil {
		t.Errorf("a row without a split: %+v", r)
	}
	if got := p.order(l.LookupID, "one", "office")["office"]; got.Error.Reason != "HOLDER_UNATTESTED" {
		t.Errorf("an order without an attestation: %+v", got)
	}
	h.stop()
	if out := h.stdout.String(); out != "" {
		t.Errorf("standard output: %s", out)
	}

	h, _ = startServe(t, data, append(args, "--allow-unattested-unbind")...)
	p = p.at(h)
	l = p.lookUpAnswered("office")
	made := p.order(l.LookupID, "two", "office")["office"]
	p.awaitOrder(made.UnbindID, soon(), "UNBIND_STATE_COMPLETED")
	h.stop()
	if r := finish(t, command(t, "serve", "--data", data, "--keys", otherKeys(t), "--sms-gateway", gateway.URL, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0")); r.code == 0 {
		t.Errorf("started with keys that are not the database's: %s", r.stderr)
	}
}

func otherKeys(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "other.json")
	tongcha(t, "keys", "new", file).must(t)
	return file
}

// checkDoors: figures are on the operator's own listener, and coverage is not
// for everybody.
func checkDoors(t *testing.T, h *hub, operations string) {
	t.Helper()
	wantError(t, h.do("GET", "/metrics", "", nil), 404, "PATH_UNKNOWN")
	if r := h.do("GET", "/v1/coverage", "", nil); r.status != 401 && r.status != 403 {
		t.Errorf("coverage for everybody: %d %s", r.status, r.body)
	}
	inner := *h
	inner.base = operations
	for _, path := range []string{"/metrics", "/livez", "/readyz"} {
		if r := inner.do("GET", path, "", nil); r.status != 200 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// serveVerified proves a number with the code that the gateway was sent.
func serveVerified(t *testing.T, h *hub, g *smsGateway) person {
	t.Helper()
	p := person{hub: h, number: demoNumber, suffix: demoSuffix}
	g.fails.Store(true)
	wantError(t, h.do("POST", "/v1/verifications", "", p.request()), 503, "SMS_UNAVAILABLE")
	g.fails.Store(false)
	v := want[struct {
		VerificationID string `json:"verificationId"`
	}](t, h.do("POST", "/v1/verifications", "", p.request())) // at once: nothing was sent before
	var message map[string]string
	select {
	case message = <-g.sent:
	case <-time.After(patience):
		t.Fatal("no message came")
	}
	code := regexp.MustCompile(`\d{6}`).FindString(message["text"])
	if message["to"] != "+86"+demoNumber || code == "" || len(message) != 2 {
		t.Fatalf("message %v", message)
	}
	wantError(t, h.do("POST", "/v1/verifications", "", p.request()), 429, "CODE_RESEND_TOO_SOON")
	s := want[struct {
		SessionToken string     `json:"sessionToken"`
		HolderSince  *time.Time `json:"holderSince"`
	}](t, p.confirm(v.VerificationID, code))
	p.token, p.holderSince = s.SessionToken, s.HolderSince
	return p
}
