package server_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/pki"
)

// status is how the hub says it is.
func (s *site) status() admin.HubStatus {
	s.Helper()
	h, err := s.hub.Status(context.Background())
	s.must(err)
	return h
}

// readyz is what a load balancer and a scraper see.
func (s *site) readyz() (code int, gauge string) {
	s.Helper()
	code, _, err := get("http://" + s.at.Metrics + "/readyz")
	s.must(err)
	_, page, err := get("http://" + s.at.Metrics + "/metrics")
	s.must(err)
	for line := range strings.Lines(page) {
		if v, ok := strings.CutPrefix(line, "tongcha_ready "); ok {
			gauge = strings.TrimSpace(v)
		}
	}
	return code, gauge
}

func (s *site) askCode() int {
	s.Helper()
	code, _, err := do("POST", "http://"+s.at.HTTP+"/v1/verifications", "", map[string]any{
		"phoneNumber": number, "idSuffix": suffix, "consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP"}},
	})
	s.must(err)
	return code
}

func (s *site) wantReady(ready bool, state string) {
	s.Helper()
	code, gauge := s.readyz()
	want, figure := http.StatusServiceUnavailable, "0"
	if ready {
		want, figure = http.StatusOK, "1"
	}
	if got := s.status().State; code != want || gauge != figure || got != state {
		s.Errorf("/readyz %d, tongcha_ready %s, state %s; want %d, %s, %s", code, gauge, got, want, figure, state)
	}
}

// TestDrain: twice the same is no more than once, and a hub can be taken back.
func TestDrain(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.Verify.Resend = 1 })
	s.start()
	s.wantReady(true, "SERVING")
	for range 2 {
		s.hub.Drain()
		s.wantReady(false, "DRAINED")
		if code := s.askCode(); code != http.StatusServiceUnavailable {
			t.Errorf("a code from a drained hub: %d", code)
		}
	}
	for range 2 {
		s.must(s.hub.Undrain())
		s.wantReady(true, "SERVING")
	}
	if code := s.askCode(); code != http.StatusOK {
		t.Errorf("a code after the drain was taken back: %d", code)
	}
	s.hub.Drain()
	s.stop()
	s.ended()
	if err := s.hub.Undrain(); err == nil {
		t.Error("a hub that has stopped was taken back")
	}
	s.start() // of a drain nothing is kept
	s.wantReady(true, "SERVING")
}

// TestDrainGivesTheLoadBalancerTime: new work is taken until --shutdown-delay is
// over, and a drain taken back before closes nothing.
func TestDrainGivesTheLoadBalancerTime(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.ShutdownDelay = 50 * time.Millisecond })
	s.start()
	s.hub.Drain()
	if code, _ := s.readyz(); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", code)
	}
	s.eventually("drained", func() bool { return s.status().State == "DRAINED" })
	s.stop()
	s.ended()

	s.cfg.ShutdownDelay = 2 * time.Second
	s.start()
	s.hub.Drain()
	s.wantReady(false, "DRAINING")
	if code := s.askCode(); code != http.StatusOK {
		t.Errorf("a code while the load balancer turns away: %d", code)
	}
	s.must(s.hub.Undrain())
	s.wantReady(true, "SERVING")
}

// TestDrainKeepsOrders: an order that becomes due while the hub is drained waits
// until the drain is taken back.
func TestDrainKeepsOrders(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.AllowUnattested = true })
	shop := s.connector(false)
	s.start()
	s.join(shop.address)
	order := s.orderAfter(func() {
		_, err := s.hub.Catalogue().Suspend(context.Background(), "shop", "")
		s.must(err)
	})
	s.hub.Drain()
	_, err := s.hub.Catalogue().Resume(context.Background(), "shop") // wakes the dispatcher
	s.must(err)
	select {
	case <-shop.unbinds:
		t.Error("a drained hub sent an order")
	case <-time.After(200 * time.Millisecond):
	}
	s.must(s.hub.Undrain())
	select {
	case id := <-shop.unbinds:
		if id != order {
			t.Errorf("sent %s, want %s", id, order)
		}
	case <-time.After(within):
		t.Error("the order was not sent after the drain")
	}
}

// TestStatusOfAHub: the figures of a hub with an order at a platform that hangs.
func TestStatusOfAHub(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.AllowUnattested, c.Version = true, "v9" })
	shop := s.connector(false)
	s.start()
	s.join(shop.address)
	s.order()
	<-shop.unbinds // and hangs
	h := s.status()
	if h.Version != "v9" || h.HTTP != s.at.HTTP || h.GRPC != s.at.GRPC || h.Metrics != s.at.Metrics || h.StartTime.IsZero() {
		t.Errorf("itself: %+v", h)
	}
	if h.Open != 1 || h.Overdue != 0 || h.Attempts < 1 || h.Lookups != 0 || h.Platforms != (admin.PlatformCounts{Catalogued: 1, Joined: 1, Serving: 1}) {
		t.Errorf("its work: %+v", h)
	}
	if h.DatabaseSize <= 0 || h.FreeSize <= 0 || len(h.Certificates) != 2 {
		t.Errorf("its folder: %+v", h)
	}
	for _, c := range h.Certificates {
		if time.Until(c.Expire) < 30*24*time.Hour {
			t.Errorf("certificate %+v", c)
		}
	}
	s.hub.Drain()
	if state := s.status().State; state != "DRAINING" { // the attempt hangs
		t.Errorf("state %s with an attempt under way", state)
	}
	s.eventually("flushed and swept", func() bool { h := s.status(); return !h.Flushed.IsZero() && !h.Swept.IsZero() })
}

// TestGaugesOfAHub: what alerts are made of is there, with sound values; also for
// a REST certificate.
func TestGaugesOfAHub(t *testing.T) {
	s := newSite(t)
	ca, err := server.OpenAuthority(s.cfg.Data, s.cfg.TrustDomain)
	s.must(err)
	pair, expire, err := ca.Issue(pki.RoleHub, "rest", pki.IssueOptions{Hosts: pki.LocalHosts()})
	s.must(err)
	dir := t.TempDir()
	s.cfg.HTTPCert, s.cfg.HTTPKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	s.must(os.WriteFile(s.cfg.HTTPCert, pair.CertPEM, 0o600))
	s.must(os.WriteFile(s.cfg.HTTPKey, pair.KeyPEM, 0o600))
	s.start()
	_, page, err := get("http://" + s.at.Metrics + "/metrics")
	s.must(err)
	values := make(map[string]float64)
	for line := range strings.Lines(page) {
		name, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			values[name] = n
		}
	}
	now := float64(time.Now().Unix())
	const certificate = "tongcha_certificate_expiry_timestamp_seconds"
	for what, ok := range map[string]bool{
		"hub":       values[certificate+`{certificate="hub"}`] > now+86400,
		"authority": values[certificate+`{certificate="authority"}`] > now+365*86400,
		"http":      values[certificate+`{certificate="http"}`] == float64(expire.Unix()),
		"store":     values["tongcha_store_bytes"] > 0,
		"free":      values["tongcha_data_free_bytes"] > 0,
		"calendar":  values["tongcha_calendar_end_timestamp_seconds"] > 1.7e9,
		"sms":       values[`tongcha_sms_total{outcome="failed"}`] == 0 && strings.Contains(page, `tongcha_sms_total{outcome="failed"} 0`),
	} {
		if !ok {
			t.Errorf("%s: %v", what, values)
		}
	}
	if j, ok := values["tongcha_clock_jump_seconds"]; !ok || j > 3600 {
		t.Errorf("clock: %v", j)
	}
}
