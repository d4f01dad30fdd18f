package server_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/clock"
)

// finding is what the hub says of its clock; "" for nothing.
func (s *site) finding() string {
	s.Helper()
	for _, f := range s.status().Findings {
		if strings.HasPrefix(f.Code, "CLOCK_") {
			return f.Code
		}
	}
	return ""
}

// TestClockSteps: a person's session outlives whatever is done to the machine's
// clock, the operator hears of it, and a start with a clock that can't be right is
// refused until it is.
func TestClockSteps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	var set atomic.Int64
	s := newSite(t, func(c *server.Config) {
		c.Clock.Wall = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
		c.Lookup.PerSession, c.Lookup.PerNumberDay = 1000, 1000 // a platform is looked for again after a start
	})
	shop := s.connector(false)
	s.start()
	s.join(shop.address)
	token := s.session()
	if f := s.finding(); f != "" {
		t.Errorf("at the start: %s", f)
	}
	lookUp := func() {
		t.Helper()
		s.eventually("the platform answers", func() bool {
			var l struct {
				LookupID string
				Answered int
			}
			s.rest("POST", "/v1/lookups", token, map[string]any{}, &l)
			s.rest("GET", "/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=1000", token, nil, &l)
			return l.Answered == 1
		})
	}
	for _, step := range []time.Duration{time.Hour, -time.Hour, year, -year} {
		set.Store(int64(step))
		lookUp()
		if f := s.finding(); f != "CLOCK_JUMPED" {
			t.Errorf("set by %v: finding %q", step, f)
		}
		if jump := s.status().ClockJump; jump.Round(time.Minute) != step {
			t.Errorf("set by %v: jump %v", step, jump)
		}
	}
	s.restart() // a year behind
	lookUp()
	if f := s.finding(); f != "CLOCK_BEHIND" || !strings.Contains(s.logs.String(), "behind the last time the hub noted") {
		t.Errorf("behind at the start: finding %q", f)
	}
	set.Store(int64(year))
	s.stop()
	s.ended()
	var ahead *clock.AheadError
	if _, err := server.Open(t.Context(), s.cfg); !errors.As(err, &ahead) {
		t.Fatalf("a start a year ahead: %v", err)
	}
	set.Store(0)
	s.start()
	lookUp()
	if f := s.finding(); f != "" {
		t.Errorf("the clock is right again: %s", f)
	}
}
