package server_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server"
)

// LookupBindings of a platform that holds its questions until it is let go.
type holding struct {
	*told
	letGo chan struct{}
}

func (h holding) LookupBindings(ctx context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	select {
	case <-h.letGo:
	case <-ctx.Done():
	}
	return h.told.LookupBindings(ctx, r)
}

// Over REST a refusal is 429 with Retry-After, figures tell of it, and it is over
// when the lookup that runs has ended.
func TestAdmissionOverREST(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.MaxLookups, c.Lookup.PlatformDeadline = 1, within })
	letGo := make(chan struct{})
	shop := s.told("shop", func(c *told) connectorv1.ConnectorServiceServer { return holding{c, letGo} })
	s.start()
	s.join(shop.address)
	token := s.session()
	var first struct{ LookupID, State string }
	s.rest("POST", "/v1/lookups", token, map[string]string{}, &first)

	code, body, header := s.refused(token)
	if after, err := strconv.Atoi(header.Get("Retry-After")); code != http.StatusTooManyRequests || !strings.Contains(body, `"OVERLOADED"`) || err != nil || after < 1 || after > 5 {
		t.Errorf("%d %s %v", code, body, header)
	}
	s.figures(`tongcha_lookups_running 1`, `tongcha_lookups_running_limit 1`, `tongcha_admission_rejected_total{cause="running",kind="lookup"} 1`,
		`tongcha_admission_calls{kind="lookup"} 0`, `tongcha_admission_calls_limit 2048`, `tongcha_record_seconds_count{kind="lookup"} 1`,
		`tongcha_platform_serving{platform="shop"} 1`, `tongcha_platform_suspended{platform="shop"} 0`, `tongcha_platform_last_seen_seconds{platform="shop"} 1`,
		`tongcha_platform_breaker{platform="shop",state="closed"} 1`, `tongcha_platform_breaker{platform="shop",state="open"} 0`,
		`tongcha_platform_in_flight{platform="shop"} `, `tongcha_platform_waiting{platform="shop"} `, `tongcha_platform_asked_total{platform="shop"} 1`)
	close(letGo)
	s.rest("GET", "/v1/lookups/"+first.LookupID+"?wait=20s&sinceRevision=1000", token, nil, &first)
	if first.State != "LOOKUP_STATE_COMPLETE" {
		t.Errorf("the lookup that ran: %+v", first)
	}
	s.eventually("another lookup", func() bool {
		code, _, err := do("POST", "http://"+s.at.HTTP+"/v1/lookups", token, map[string]string{})
		return err == nil && code == http.StatusOK
	})
}

// refused asks for a lookup and returns the whole answer.
func (s *site) refused(token string) (int, string, http.Header) {
	s.Helper()
	req, err := http.NewRequest("POST", "http://"+s.at.HTTP+"/v1/lookups", strings.NewReader("{}"))
	s.must(err)
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	body := new(strings.Builder)
	s.must(resp.Write(body))
	return resp.StatusCode, body.String(), resp.Header
}

// figures looks for lines of /metrics by how they begin.
func (s *site) figures(want ...string) {
	s.Helper()
	code, body, err := get("http://" + s.at.Metrics + "/metrics")
	if err != nil || code != 200 {
		s.Fatalf("%d %v", code, err)
	}
	for _, w := range want {
		if !strings.Contains(body, "\n"+w) {
			s.Errorf("no %s in the figures", w)
		}
	}
}
