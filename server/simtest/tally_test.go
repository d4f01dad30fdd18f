package simtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// figures counts orders by hand, under names such as "shop queued" and
// "shop 10957 refused HAS_DEBT". What is 0 has no entry.
func figures(all []unbind.Order, now time.Time) map[string]int64 {
	n := make(map[string]int64)
	for _, o := range all {
		count := func(format string, args ...any) { n[string(o.Platform)+" "+fmt.Sprintf(format, args...)]++ }
		switch s := o.State.String(); s {
		case "QUEUED", "SENDING", "APPEALED":
			count("QUEUED")
		case "IN_REVIEW", "ACTION_REQUIRED":
			count("IN_REVIEW")
		default:
			count("%s", s)
		}
		if !final(o.State.String()) && o.DueTime.Before(now) {
			count("overdue")
		}
		countDays(o, count)
	}
	return n
}

func countDays(o unbind.Order, count func(string, ...any)) {
	ended, due := chinaDay(o.StateTime), chinaDay(o.DueTime.Add(-1))
	count("%d taken", chinaDay(o.CreateTime))
	state := o.State.String()
	if state != "CANCELLED" {
		count("%d due", due)
	}
	switch state {
	case "COMPLETED", "ABANDONED", "CANCELLED":
		count("%d %s", ended, state)
	case "REFUSED":
		count("%d REFUSED %s", ended, o.RefusalReason)
	}
	if (state == "COMPLETED" || state == "REFUSED") && !o.StateTime.After(o.DueTime) {
		count("%d on time", due)
	}
}

// chinaDay is how many days after 1970-01-01 it is in China.
func chinaDay(t time.Time) int64 { return (t.Unix() + 8*3600) / 86400 }

// kept reads the same figures from the store.
func kept(ctx context.Context, s *bolt.Store, now time.Time) (map[string]int64, error) {
	n := make(map[string]int64)
	add := func(p platform.ID, name string, v int64) {
		if v != 0 {
			n[string(p)+" "+name] += v
		}
	}
	counts, err := s.OrderCounts(ctx, now)
	if err != nil {
		return nil, err
	}
	for p, c := range counts {
		for name, v := range map[string]int64{
			"QUEUED": c.Queued, "IN_REVIEW": c.InReview, "COMPLETED": c.Completed, "REFUSED": c.Refused, "ABANDONED": c.Abandoned,
			"CANCELLED": c.Cancelled, "overdue": c.Overdue,
		} {
			add(p, name, v)
		}
	}
	today := coverage.DayOf(now)
	_, err = s.EachDay(ctx, today-1000, today+1000, func(coverage.Cell, coverage.Tally) {}, func(c coverage.Cell, u coverage.Unbinds) {
		for name, v := range map[string]int64{
			"taken": u.Taken, "due": u.Due, "on time": u.OnTime, "COMPLETED": u.Completed, "ABANDONED": u.Abandoned, "CANCELLED": u.Cancelled,
		} {
			add(c.Platform, fmt.Sprintf("%d %s", int(c.Day), name), v)
		}
		for reason, v := range u.Refused {
			add(c.Platform, fmt.Sprintf("%d REFUSED %s", int(c.Day), reason), v)
		}
	})
	return n, err
}

// auditFigures holds the store's figures against those counted by hand.
func (g *ledger) auditFigures(want, got map[string]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	both := maps.Clone(want)
	maps.Copy(both, got)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		if want[name] != got[name] {
			g.breach("the figures are those of the orders", nil, "%s: %d, but %d orders", name, got[name], want[name])
		}
	}
}
