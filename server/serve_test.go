package server_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

const (
	number = "13912349876"
	suffix = "29876X"
)

func TestReadinessAndHealthWhileStopping(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.ShutdownDelay = 2 * time.Second })
	s.start()
	for _, base := range []string{s.at.HTTP, s.at.Metrics} {
		for _, path := range []string{"/livez", "/readyz"} {
			if code, body, err := get("http://" + base + path); code != 200 || body != "ok\n" {
				t.Fatalf("%s: %d %q %v", path, code, body, err)
			}
		}
	}
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	watch, err := healthv1.NewHealthClient(s.dial(pki.RoleRegulator, "miit")).Watch(ctx, &healthv1.HealthCheckRequest{})
	s.must(err)
	s.healthIs(watch, healthv1.HealthCheckResponse_SERVING)
	s.stop()
	s.healthIs(watch, healthv1.HealthCheckResponse_NOT_SERVING)
	leave()
	for _, base := range []string{s.at.HTTP, s.at.Metrics} { // the doors are still open
		code, body, err := get("http://" + base + "/readyz")
		if code != 503 || err != nil {
			t.Errorf("/readyz while stopping: %d %q %v", code, body, err)
		}
		if code, _, err = get("http://" + base + "/livez"); code != 200 {
			t.Errorf("/livez while stopping: %d %v", code, err)
		}
	}
	s.ended()
	if _, _, err := get("http://" + s.at.HTTP + "/livez"); err == nil {
		t.Error("it still answers")
	}
	if _, err := os.Stat(server.Socket(s.cfg.Data)); !os.IsNotExist(err) {
		t.Errorf("the operator's socket is left: %v", err)
	}
}

func (s *site) healthIs(w healthv1.Health_WatchClient, want healthv1.HealthCheckResponse_ServingStatus) {
	s.Helper()
	resp, err := w.Recv()
	if err != nil || resp.GetStatus() != want {
		s.Fatalf("health %v %v, want %v", resp.GetStatus(), err, want)
	}
}

// A hub that stops gives back what it was sending and closes its database: who
// opens it next has the order again at once, and no attempt was spent.
func TestStopInTheMiddleOfAnAttempt(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.AllowUnattested = true })
	shop := s.connector(false)
	s.start()
	s.join(shop.address)
	order := s.order()
	select {
	case id := <-shop.unbinds:
		if id != order {
			t.Errorf("sent %s, want %s", id, order)
		}
	case <-time.After(within):
		t.Fatal("the order is not sent")
	}
	s.checkMetrics()
	s.stop()
	s.ended()
	keys, err := seal.Load(filepath.Join(s.cfg.Data, "keys.json"))
	s.must(err)
	store, err := bolt.Open(filepath.Join(s.cfg.Data, "tongcha.db"), keys)
	s.must(err)
	defer func() { s.must(store.Close()) }()
	claims, _, err := store.Claim(t.Context(), unbind.ClaimRequest{Now: time.Now(), Lease: time.Minute, Max: 1, Free: func(platform.ID) int { return 1 }})
	if err != nil || len(claims) != 1 || claims[0].Order.ID != order || claims[0].Order.Attempts != 0 {
		t.Errorf("%v %v", claims, err)
	}
	for _, secret := range []string{number, suffix, s.outbox.last()} {
		if strings.Contains(s.logs.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// join adds the platform shop and waits until it answers.
func (s *site) join(address string) {
	s.Helper()
	info, err := s.hub.Catalogue().Add(context.Background(), platform.Entry{ID: "shop", DisplayName: "购物", Category: "网上购物", Address: address, AddTime: time.Now()})
	if err != nil || info.Health != platform.HealthServing {
		s.Fatalf("shop: %+v %v", info, err)
	}
}

// session goes a person's way up to a session and returns its token.
func (s *site) session() string {
	s.Helper()
	var v struct{ VerificationID string }
	s.rest("POST", "/v1/verifications", "", map[string]any{
		"phoneNumber": number, "idSuffix": suffix, "consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP", "UNBIND"}},
	}, &v)
	var open struct{ SessionToken string }
	s.rest("POST", "/v1/verifications/"+v.VerificationID+":confirm", "", map[string]string{"code": s.outbox.last()}, &open)
	return open.SessionToken
}

// order goes a person's way up to an order.
func (s *site) order() string { s.Helper(); return s.orderAfter(func() {}) }

// orderAfter does so, and something else between the lookup and the order.
func (s *site) orderAfter(lookedUp func()) string {
	s.Helper()
	token := s.session()
	var l struct{ LookupID, State string }
	s.rest("POST", "/v1/lookups", token, map[string]string{}, &l)
	s.rest("GET", "/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=1000", token, nil, &l)
	lookedUp()
	var made struct {
		Unbinds []struct {
			UnbindID string
			Error    any
		}
	}
	s.rest("POST", "/v1/unbinds", token, map[string]any{"lookupId": l.LookupID, "platformIds": []string{"shop"}, "requestId": "r1"}, &made)
	if len(made.Unbinds) != 1 || made.Unbinds[0].UnbindID == "" {
		s.Fatalf("%+v", made)
	}
	return made.Unbinds[0].UnbindID
}

// checkMetrics looks for what a person typed, after a person's whole way.
func (s *site) checkMetrics() {
	s.Helper()
	code, body, err := get("http://" + s.at.Metrics + "/metrics")
	if err != nil || code != 200 {
		s.Fatalf("%d %v", code, err)
	}
	for _, want := range []string{
		`tongcha_orders{platform="shop",state="queued"} 1`, "tongcha_platform_answer_seconds_count", `method="/tongcha.hub.v1.UnbindService/CreateUnbinds"`, "go_goroutines",
		`code="OK"`, "tongcha_http_request_seconds_count",
	} {
		if !strings.Contains(body, want) {
			s.Errorf("no %s in the figures", want)
		}
	}
	for _, secret := range []string{number, number[3:], suffix, s.outbox.last() + `"`, "139****9876", "shop.example", `subject`} {
		if strings.Contains(body, secret) {
			s.Errorf("%s is in the figures", secret)
		}
	}
	if code, _, _ := get("http://" + s.at.HTTP + "/metrics"); code == 200 {
		s.Error("the figures are open at the people's door too")
	}
}

func TestMetricsBesideREST(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.Metrics = "" })
	s.start()
	if code, body, err := get("http://" + s.at.HTTP + "/metrics"); code != 200 || !strings.Contains(body, "tongcha_") && !strings.Contains(body, "go_goroutines") || s.at.Metrics != "" {
		t.Errorf("%d %v", code, err)
	}
	s.stop()
	s.ended()
}

func TestCoverageIsOpenedByConfiguration(t *testing.T) {
	for open, want := range map[bool]int{true: 200, false: 403} {
		s := newSite(t, func(c *server.Config) { c.OpenCoverage = open })
		s.start()
		if code, body, err := get("http://" + s.at.HTTP + "/v1/coverage"); code != want || err != nil {
			t.Errorf("open %v: %d %s %v", open, code, body, err)
		}
		s.stop()
		s.ended()
	}
}

func TestRestartOnTheSameFolder(t *testing.T) {
	s := newSite(t)
	s.start()
	for range 3 {
		s.restart()
	}
	s.stop()
	s.ended()
}

func TestSecondHubOnTheFolder(t *testing.T) {
	s := newSite(t)
	s.start()
	_, err := server.Open(t.Context(), s.cfg)
	if err == nil || !strings.Contains(err.Error(), "in use by another hub") {
		t.Errorf("%v", err)
	}
	if code, _, err := get("http://" + s.at.HTTP + "/readyz"); code != 200 {
		t.Errorf("the first: %d %v", code, err)
	}
	s.stop()
	s.ended()
}

func TestKeysThatDoNotFit(t *testing.T) {
	s := newSite(t)
	s.must(s.open().Close())
	own := filepath.Join(s.cfg.Data, "keys.json")
	other := filepath.Join(t.TempDir(), "other.json")
	s.must(seal.Create(other))
	broken := filepath.Join(t.TempDir(), "broken.json")
	s.must(os.WriteFile(broken, []byte("{}"), 0o600))
	readable := filepath.Join(t.TempDir(), "readable.json")
	s.must(seal.Create(readable))
	s.must(os.Chmod(readable, 0o644))
	for file, want := range map[string]string{other: "sealed with other keys", broken: "not a version 1 key file", readable: "chmod 600"} {
		cfg := s.cfg
		cfg.KeyFile = file
		if _, err := server.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	s.must(os.Rename(own, own+".away"))
	_, err := server.Open(t.Context(), s.cfg)
	if err == nil || !strings.Contains(err.Error(), "keys.json is missing") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(own); !os.IsNotExist(err) {
		t.Error("new keys were made for an old database")
	}
	s.must(os.Rename(own+".away", own))
	s.must(s.open().Close())
}

func TestAnotherTrustDomain(t *testing.T) {
	s := newSite(t)
	s.must(s.open().Close())
	s.cfg.TrustDomain = "other.example"
	if _, err := server.Open(t.Context(), s.cfg); err == nil || !strings.Contains(err.Error(), `"tongcha.local", not "other.example"`) {
		t.Errorf("%v", err)
	}
}

func TestListenerInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s := newSite(t)
	for flag, change := range map[string]func(*server.Config){
		"--http": func(c *server.Config) { c.HTTP = taken.Addr().String() }, "--grpc": func(c *server.Config) { c.GRPC = taken.Addr().String() },
		"--metrics": func(c *server.Config) { c.Metrics = taken.Addr().String() },
	} {
		cfg := s.cfg
		change(&cfg)
		h, err := server.Open(t.Context(), cfg)
		s.must(err)
		err = h.Serve(t.Context(), func(server.Addresses) { t.Errorf("%s: it is ready", flag) })
		if err == nil || !strings.HasPrefix(err.Error(), flag+": ") || !strings.Contains(err.Error(), "choose another address") {
			t.Errorf("%s: %v", flag, err)
		}
	}
	s.start() // nothing was left open
	s.stop()
	s.ended()
}

func TestBrokenFilesOfREST(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "cert.pem")
	s.must(os.WriteFile(file, []byte("no certificate"), 0o600))
	cfg := s.cfg
	cfg.HTTPCert, cfg.HTTPKey = file, file
	h, err := server.Open(t.Context(), cfg)
	s.must(err)
	if err := h.Serve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--http-cert") {
		t.Errorf("%v", err)
	}
	cfg = s.cfg
	cfg.CalendarFile = file
	if _, err := server.Open(t.Context(), cfg); err == nil || !strings.Contains(fmt.Sprint(err), "calendar") {
		t.Errorf("%v", err)
	}
	s.start()
	s.stop()
	s.ended()
}
