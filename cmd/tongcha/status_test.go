package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// statusView is what `status -o json` says.
type statusView struct {
	State, Version, HTTPAddress               string
	PlatformsCatalogued, PlatformsJoined      int
	PlatformsServing, LookupsRunning          int
	OrdersOpen                                string // 64 bits
	Certificates                              []struct{ Name, ExpireTime string }
	StartTime, CalendarEndTime, FlushTime     *time.Time
	DatabaseBytes, FreeBytes, OrdersAbandoned string
	Findings                                  []struct{ Code, Text, Action string }
}

func (s statusView) codes() []string {
	var out []string
	for _, f := range s.Findings {
		out = append(out, f.Code)
	}
	return out
}

// status asks how the hub is; its exit code must be what was found.
func (h *hub) status(args ...string) statusView {
	h.t.Helper()
	r := h.cli(append([]string{"status", "-o", "json"}, args...)...)
	s := decode[statusView](h.t, []byte(r.stdout))
	want := 0
	if len(s.Findings) > 0 && !slices.Contains(args, "--live") {
		want = exitFailure
	}
	if r.code != want {
		h.t.Errorf("exit code %d, want %d: %s%s", r.code, want, r.stdout, r.stderr)
	}
	for _, f := range s.Findings {
		if want != 0 && (!strings.Contains(r.stderr, f.Text) || !strings.Contains(r.stderr, f.Action)) {
			h.t.Errorf("standard error does not say what to do about %+v: %s", f, r.stderr)
		}
	}
	return s
}

// TestStatusAndDrain watches a hub that serves, is drained while people are at
// it, and is taken back.
func TestStatusAndDrain(t *testing.T) {
	t.Parallel()
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	s := h.status()
	if s.State != "SERVING" || "http://"+s.HTTPAddress != h.base || s.Version == "" || s.PlatformsCatalogued != len(everySim) || s.PlatformsJoined != len(everySim)-1 {
		t.Errorf("status: %+v", s)
	}
	if len(s.Certificates) != 2 || s.StartTime == nil || s.CalendarEndTime == nil || s.DatabaseBytes == "0" {
		t.Errorf("status: %+v", s)
	}
	p := h.verified(demoNumber, demoSuffix)
	l := want[lookupBody](t, p.post("/v1/lookups", map[string]any{})) // sim-silent never answers
	busy := h.cli("drain", "--wait", "0s")
	running := want[lookupBody](t, p.get("/v1/lookups/"+l.LookupID)).State == "LOOKUP_STATE_RUNNING" // so it ran all the time
	if running && (busy.code != exitFailure || !strings.Contains(busy.stderr, "1 lookups") || !strings.Contains(busy.stdout, "DRAINING")) {
		t.Errorf("drain of a busy hub: %+v", busy)
	}
	if r := h.do("GET", "/readyz", "", nil); r.status != 503 {
		t.Errorf("/readyz of a drained hub: %d", r.status)
	}
	if r := h.do("GET", "/livez", "", nil); r.status != 200 {
		t.Errorf("/livez of a drained hub: %d", r.status)
	}
	for what, r := range map[string]reply{
		"verification": h.do("POST", "/v1/verifications", "", p.request()),
		"lookup":       p.post("/v1/lookups", map[string]any{}),
		"order":        p.post("/v1/unbinds", map[string]any{"lookupId": l.LookupID, "platformIds": []string{"sim-sync"}, "requestId": "r"}),
	} {
		wantError(t, r, 503, "SHUTTING_DOWN")
		if r.header.Get("Retry-After") == "" {
			t.Errorf("a %s that was refused without a time to come back", what)
		}
	}
	if got := want[lookupBody](t, p.get("/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=99")); got.State != "LOOKUP_STATE_COMPLETE" || got.Answered == 0 {
		t.Errorf("the lookup that ran: %+v", got)
	}
	for range 2 {
		if r := h.cli("drain", "--wait", "20s").must(t); !strings.Contains(r.stdout, "DRAINED") {
			t.Errorf("drain: %+v", r)
		}
	}
	if s := h.status(); s.State != "DRAINED" || !slices.Contains(s.codes(), "DRAINED") {
		t.Errorf("status of a drained hub: %+v", s)
	}
	h.status("--live")
	for range 2 {
		if r := h.cli("drain", "--undo").must(t); !strings.Contains(r.stdout, "SERVING") {
			t.Errorf("drain --undo: %+v", r)
		}
	}
	if s := h.status(); s.State != "SERVING" || slices.Contains(s.codes(), "DRAINED") {
		t.Errorf("status of a hub taken back: %+v", s)
	}
	p.lookUp("sim-sync")
	h.cli("drain").must(t)
	h.stop()
}

// TestStatusOfServe: a hub with nothing to complain about exits with 0, and says
// READY and STOPPING to its service manager.
func TestStatusOfServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, data, socket := filepath.Join(dir, "keys.json"), filepath.Join(dir, "data"), "@tongcha-test-"+filepath.Base(dir)+dir[max(0, len(dir)-40):]
	tongcha(t, "keys", "new", keys).must(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd := command(t, "serve", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
		"--keys", keys, "--sms-gateway", "http://127.0.0.1:1/send", "--calendar", calendarFile(t))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	h := launch(t, cmd, data)
	told := func(want string) {
		t.Helper()
		got := make([]byte, 100)
		_ = manager.SetReadDeadline(time.Now().Add(patience))
		n, err := manager.Read(got)
		if err != nil || string(got[:n]) != want {
			t.Fatalf("the service manager was told %q %v, want %q", got[:n], err, want)
		}
	}
	told("READY=1")
	s := h.status()
	if got := slices.DeleteFunc(s.codes(), func(c string) bool { return c == "DISK_FILLING" }); s.State != "SERVING" || len(got) > 0 { // of the machine that tests
		t.Errorf("status: %+v", s)
	}
	rows := h.cli("status", "--live").must(t).stdout
	for _, want := range []string{"state  ", "0 of 0 joined", "0 open, 0 overdue, 0 abandoned", "authority certificate", "needs a look"} {
		if !strings.Contains(rows, want) {
			t.Errorf("status does not show %q:\n%s", want, rows)
		}
	}
	if r := tongcha(t, "config", "validate", "--data", data, "--keys", keys, "--sms-gateway", "http://127.0.0.1:1/send").must(t); !strings.Contains(r.stdout, "a running hub has it open") {
		t.Errorf("validate beside a hub: %+v", r)
	}
	h.stop()
	told("STOPPING=1")
}

// TestNoHubToAsk: where no hub answers the exit code says so.
func TestNoHubToAsk(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{{"status"}, {"status", "--live"}, {"status", "-o", "json"}, {"drain"}, {"drain", "--undo"}} {
		r := tongcha(t, append(args, "--data", data)...)
		if r.code != exitUnreachable || !strings.Contains(r.stderr, "is it running") || r.stdout != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := tongcha(t, "drain", "--wait", "-1s"); r.code != exitUsage {
		t.Errorf("drain --wait -1s: %+v", r)
	}
	for _, name := range []string{"status", "drain"} {
		help := tongcha(t, name, "--help").must(t).stdout
		for _, code := range []string{"Exit codes: 0 ", "1 ", "2 ", "3 no hub answers"} {
			if !strings.Contains(help, code) {
				t.Errorf("the help of %s does not say %q", name, code)
			}
		}
	}
}
