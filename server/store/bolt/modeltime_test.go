package bolt_test

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// wait lets time go by, seldom much of it.
func (m *model) wait() {
	d := []time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, time.Hour, 25 * time.Hour, 60 * 24 * time.Hour}
	time.Sleep(d[min(m.rand.IntN(6), m.rand.IntN(9), len(d)-1)])
	m.now = time.Now().UTC().Round(0)
}

// sweep removes what ended long ago.
func (m *model) sweep() {
	for {
		more, err := m.s.Sweep(m.Context(), m.now, 1+m.rand.IntN(50))
		m.ok(err)
		if !more {
			break
		}
	}
	for id, k := range m.orders {
		if k.State.Final() && k.StateTime.Add(180*24*time.Hour).Before(m.now) {
			delete(m.orders, id)
		}
	}
}

// together does several things to one order at once. Which comes first is not
// known, so the map learns the outcome, which must be one of those there can be.
func (m *model) together() {
	k := m.any()
	if k.ID == "none" {
		return
	}
	before, ended := k.Order, k.State.Final()
	reported := unbind.Reported(m.now, m.word(platform.StageCompleted), time.Time{})
	taken := make([]error, 4)
	var all sync.WaitGroup
	for i := range taken {
		all.Go(func() { _, taken[i] = m.s.Cancel(m.Context(), k.Subject, k.ID, unbind.CancelledByPerson(m.now)) })
	}
	all.Go(func() { _, _, _ = m.s.Report(m.Context(), k.Platform, k.ID, reported) })
	all.Wait()
	o, err := m.s.AnyOrder(m.Context(), k.ID)
	m.ok(err)
	won := 0
	for _, err := range taken {
		if err == nil {
			won++
		}
	}
	t := reported
	if won > 0 {
		t = unbind.CancelledByPerson(m.now)
	}
	m.apply(k, t)
	m.same("after all at once", o, m.shown(k))
	if won > 1 || won == 1 && (ended || before.Sent || before.State != unbind.Queued) {
		m.Fatalf("%d cancelled %v", won, before.State)
	}
}

// compare holds all that the store says of orders against the map.
func (m *model) compare() {
	m.Helper()
	got, err := m.s.AllOrders(m.Context(), "", 0, 100000)
	m.ok(err)
	want := []unbind.Order{}
	for _, k := range m.orders {
		want = append(want, m.shown(k))
	}
	slices.SortFunc(want, func(a, b unbind.Order) int { return -cmp.Compare(a.ID, b.ID) })
	m.same("number of orders", len(got), len(want))
	for i := range want {
		m.same("order", got[i], want[i])
	}
	m.compareDead()
	m.compareCounts()
}

func (m *model) compareDead() {
	m.Helper()
	dead := map[string]bool{}
	for id, k := range m.orders {
		if k.State == unbind.Abandoned && !k.Discarded {
			dead[id] = true
		}
	}
	for after, pages := "", 0; ; pages++ {
		some, next, err := m.s.DeadLetters(m.Context(), unbind.DeadLetterQuery{After: after, Limit: 3})
		m.ok(err)
		for _, o := range some {
			if !dead[o.ID] {
				m.Fatalf("order %s is %v, or came twice, among the dead letters", o.ID, o.State)
			}
			delete(dead, o.ID)
		}
		if after = next; next == "" {
			break
		}
	}
	m.same("dead letters that are not listed", len(dead), 0)
}

// compareCounts holds the tallies, of all that ever was, and the days against the
// map: no count of a day is below 0, and all days together are what came and ended.
func (m *model) compareCounts() {
	m.Helper()
	by, err := m.s.OrderCounts(m.Context(), m.now)
	m.ok(err)
	var sum coverage.Orders
	for _, o := range by {
		sum.Queued, sum.InReview, sum.Completed = sum.Queued+o.Queued, sum.InReview+o.InReview, sum.Completed+o.Completed
		sum.Refused, sum.Abandoned, sum.Cancelled = sum.Refused+o.Refused, sum.Abandoned+o.Abandoned, sum.Cancelled+o.Cancelled
		sum.Overdue += o.Overdue
	}
	n := func(s unbind.State) int64 { return int64(m.tally[s]) }
	want := coverage.Orders{
		Queued: n(unbind.Queued) + n(unbind.Appealed), InReview: n(unbind.InReview) + n(unbind.ActionRequired), Completed: n(unbind.Completed),
		Refused: n(unbind.Refused), Abandoned: n(unbind.Abandoned), Cancelled: n(unbind.Cancelled),
	}
	for _, k := range m.orders {
		if k.Overdue(m.now) {
			want.Overdue++
		}
	}
	m.same("tallies", sum, want)
	today, days := coverage.DayOf(m.now), coverage.Orders{}
	_, err = m.s.EachDay(m.Context(), today-coverage.KeptDays, today+30, func(coverage.Cell, coverage.Tally) {}, func(c coverage.Cell, u coverage.Unbinds) {
		if min(u.Taken, u.Completed, u.Abandoned, u.Cancelled, u.Due, u.OnTime) < 0 {
			m.Errorf("below 0 at %s on day %d: %+v", c.Platform, c.Day, u)
		}
		days.Completed, days.Abandoned, days.Cancelled = days.Completed+u.Completed, days.Abandoned+u.Abandoned, days.Cancelled+u.Cancelled
		for _, n := range u.Refused {
			days.Refused += n
			if n < 0 {
				m.Errorf("below 0 at %s on day %d: %+v", c.Platform, c.Day, u)
			}
		}
	})
	m.ok(err)
	if m.now.Sub(m.began) < 300*24*time.Hour { // later some are not kept any more
		m.same("ends of all days", days, coverage.Orders{Completed: want.Completed, Refused: want.Refused, Abandoned: want.Abandoned, Cancelled: want.Cancelled})
	}
}
