package coverage_test

import (
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// TestDaysGoByTheHubsClock: what is counted belongs to the hub's day.
func TestDaysGoByTheHubsClock(t *testing.T) {
	l, at := newLedger(), time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	c := coverage.NewCounter(func() time.Time { return at })
	c.Observe("shop", platform.Answer{State: platform.Bound})
	if err := c.Flush(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if n := l.days[coverage.Cell{Platform: "shop", Day: coverage.DayOf(at)}].Asked; n != 1 {
		t.Errorf("%d counted on the hub's day, want 1: %v", n, l.days)
	}
	r, err := coverage.Read(t.Context(), l, c, nil, coverage.Query{})
	if err != nil || !r.AsOf.Equal(at) {
		t.Errorf("as of %v (%v)", r.AsOf, err)
	}
}
