package coverage_test

import (
	"math"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

const absent = -1 // stands for a figure without data

// TestShares compares with figures worked out by hand.
func TestShares(t *testing.T) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	row := func(weight int64, address string, asked, answered int64) coverage.Row {
		e := platform.Entry{ID: "x", Address: address}
		e.WeightMilli, e.ObligedSince = weight, now
		return coverage.Row{Entry: e, Lookup: coverage.Tally{Asked: asked, Answered: answered, Silent: asked - answered}}
	}
	free := row(9000, "h:1", 10, 10)
	free.Entry.ObligedSince = time.Time{}
	next := row(9000, "h:1", 10, 10)
	next.Entry.ObligedSince = now.Add(1)
	suspended := row(1000, "h:1", 10, 10)
	suspended.Entry.Suspended = true
	for name, c := range map[string]struct {
		rows                        []coverage.Row
		joined, weighted, effective float64
		unweighted, unmeasured      int
	}{
		"nobody":                         {nil, absent, absent, absent, 0, 0},
		"nobody obliged, or not yet":     {[]coverage.Row{free, next}, absent, absent, absent, 0, 0},
		"not one has joined":             {[]coverage.Row{row(1000, "", 0, 0), row(3000, "", 0, 0)}, 0, 0, 0, 0, 0},
		"all joined, all answer":         {[]coverage.Row{row(1000, "h:1", 5, 5), row(3000, "h:1", 1, 1), free}, 1, 1, 1, 0, 0},
		"all joined, nobody was asked":   {[]coverage.Row{row(1000, "h:1", 0, 0), row(3000, "h:1", 0, 0)}, 1, 1, absent, 0, 2},
		"one joined and was not asked":   {[]coverage.Row{row(1000, "h:1", 0, 0), row(3000, "", 0, 0)}, 0.5, 0.25, absent, 0, 1},
		"by weight":                      {[]coverage.Row{row(1000, "h:1", 10, 5), row(3000, "", 0, 0)}, 0.5, 0.25, 0.125, 0, 0},
		"the silent count as nothing":    {[]coverage.Row{row(1000, "h:1", 10, 0), row(3000, "h:1", 4, 3)}, 1, 1, 0.5625, 0, 0},
		"one that was not asked is out":  {[]coverage.Row{row(1000, "h:1", 10, 5), row(3000, "h:1", 0, 0), row(1000, "", 0, 0)}, 2.0 / 3, 0.8, 0.25, 0, 1},
		"suspended is not joined":        {[]coverage.Row{suspended, row(1000, "h:1", 1, 1)}, 0.5, 0.5, 0.5, 0, 0},
		"without a weight":               {[]coverage.Row{row(0, "h:1", 10, 10), row(2000, "", 0, 0)}, 0.5, 0, 0, 1, 0},
		"none has a weight":              {[]coverage.Row{row(0, "h:1", 10, 10), row(0, "", 0, 0)}, 0.5, absent, absent, 2, 0},
		"half a unit counts half a unit": {[]coverage.Row{row(500, "h:1", 1, 1), row(1, "", 0, 0)}, 0.5, 500.0 / 501, 500.0 / 501, 0, 0},
	} {
		var s coverage.Shares
		for _, r := range c.rows {
			s.Add(r, now)
		}
		for what, f := range map[string]struct {
			figure func() (float64, bool)
			want   float64
		}{"joined": {s.Joined, c.joined}, "weighted": {s.Weighted, c.weighted}, "effective": {s.Effective, c.effective}} {
			got, ok := f.figure()
			if !ok {
				got = absent
			}
			if math.Abs(got-f.want) > 1e-12 {
				t.Errorf("%s: %s coverage is %v, want %v", name, what, got, f.want)
			}
		}
		if s.Unweighted != c.unweighted || s.Unmeasured != c.unmeasured {
			t.Errorf("%s: %d without weight, %d not asked", name, s.Unweighted, s.Unmeasured)
		}
	}
}
