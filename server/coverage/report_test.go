package coverage_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// ledger is a store in memory. A hook runs in the middle of every method.
type ledger struct {
	mu      sync.Mutex
	ever    map[platform.ID]coverage.Tally
	days    map[coverage.Cell]coverage.Tally
	unbinds map[coverage.Cell]coverage.Unbinds
	orders  map[platform.ID]coverage.Orders
	first   coverage.Day
	hook    func()
	err     error
}

func newLedger() *ledger {
	return &ledger{
		ever: make(map[platform.ID]coverage.Tally), days: make(map[coverage.Cell]coverage.Tally), unbinds: make(map[coverage.Cell]coverage.Unbinds),
		orders: make(map[platform.ID]coverage.Orders), hook: func() {},
	}
}

func (l *ledger) FlushTallies(_ context.Context, by map[coverage.Cell]coverage.Tally) error {
	l.hook()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	for k, t := range by {
		ever, day := l.ever[k.Platform], l.days[k]
		ever.Merge(t)
		day.Merge(t)
		l.ever[k.Platform], l.days[k] = ever, day
	}
	return nil
}

func (l *ledger) Tallies(context.Context) (map[platform.ID]coverage.Tally, error) {
	l.mu.Lock()
	out := make(map[platform.ID]coverage.Tally)
	for k, t := range l.ever {
		out[k] = t
	}
	l.mu.Unlock()
	l.hook()
	return out, l.err
}

func (l *ledger) EachDay(_ context.Context, from, to coverage.Day, asked func(coverage.Cell, coverage.Tally), ordered func(coverage.Cell, coverage.Unbinds)) (coverage.Day, error) {
	l.mu.Lock()
	for k, t := range l.days {
		if k.Day >= from && k.Day <= to {
			asked(k, t)
		}
	}
	for k, u := range l.unbinds {
		if k.Day >= from && k.Day <= to {
			ordered(k, u)
		}
	}
	l.mu.Unlock()
	l.hook()
	return l.first, l.err
}

func (l *ledger) OrderCounts(context.Context, time.Time) (map[platform.ID]coverage.Orders, error) {
	return l.orders, l.err
}

func (l *ledger) FirstDay(context.Context) (time.Time, error) { return time.Unix(1, 0), l.err }

// rightNow is the window of the present day.
func rightNow() coverage.Query {
	today := coverage.DayOf(time.Now())
	return coverage.Query{From: today, To: today}
}

func TestRead(t *testing.T) {
	l, c := newLedger(), coverage.NewCounter(nil)
	today := coverage.DayOf(time.Now())
	l.first = today - 10
	l.ever["a"] = coverage.Tally{Asked: 4, Answered: 3, Silent: 1}
	l.ever["gone"] = coverage.Tally{Asked: 100}
	l.days[coverage.Cell{Platform: "a", Day: today - 1}] = coverage.Tally{Asked: 2, Answered: 1, Silent: 1, Late: 1}
	l.orders = map[platform.ID]coverage.Orders{
		"a": {Queued: 1, InReview: 2, Completed: 3, Refused: 4, Abandoned: 5, Cancelled: 6, Overdue: 1}, "b": {Queued: 10, Overdue: 7}, "gone": {Queued: 100},
	}
	l.unbinds[coverage.Cell{Platform: "a", Day: today - 1}] = coverage.Unbinds{Taken: 3, Due: 2, OnTime: 1, Refused: map[string]int64{"HAS_DEBT": 1}}
	l.unbinds[coverage.Cell{Platform: "a", Day: today}] = coverage.Unbinds{Taken: 1, Due: 5, OnTime: 5}
	c.Observe("a", answered(time.Millisecond))
	c.Observe("b", platform.Answer{State: platform.Silent})
	catalogue := []platform.Entry{
		{ID: "a", Address: "h:1", Category: "网上购物"}, {ID: "b", Address: "h:2", Suspended: true, Category: "地图导航"}, {ID: "c", Category: "网上购物"},
	}
	read := func(q coverage.Query) coverage.Report {
		t.Helper()
		r, err := coverage.Read(t.Context(), l, c, catalogue, q)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ever := read(coverage.Query{From: today, To: today, Ever: true})
	if len(ever.Rows) != 3 || ever.Joined != 1 || !ever.Since.Equal(time.Unix(1, 0)) || ever.AsOf.IsZero() {
		t.Fatalf("report %+v", ever)
	}
	if a, b := ever.Rows[0].Lookup, ever.Rows[1]; a.Asked != 5 || a.Answered != 4 || b.Lookup.Silent != 1 || b.Orders.Open() != 10 {
		t.Errorf("rows: %+v", ever.Rows)
	}
	want := coverage.Orders{Queued: 11, InReview: 2, Completed: 3, Refused: 4, Abandoned: 5, Cancelled: 6, Overdue: 8}
	if ever.Total.Orders != want || ever.Total.Lookup.Asked != 6 {
		t.Errorf("total %+v", ever.Total)
	}
	r := read(coverage.Query{From: today - 300, To: today})
	if r.From != today-10 || len(r.Days) != 11 || r.Days[0].Day != r.From || r.Days[9].Lookup.Asked != 2 || r.Days[10].Lookup.Asked != 2 || r.Days[8].Lookup.Asked != 0 {
		t.Errorf("days from %v: %+v", r.From, r.Days)
	}
	if a := r.Rows[0]; a.Lookup.Asked != 3 || a.Lookup.Late != 1 || a.Unbinds.Taken != 4 || a.Unbinds.Due != 2 || a.Unbinds.OnTime != 1 {
		t.Errorf("what is due today is neither in time nor missed: %+v", a)
	}
	if len(r.Categories) != 2 || r.Categories[0].Name != "地图导航" || r.Categories[1].Catalogued != 2 || r.Categories[1].Joined != 1 || r.Categories[1].Lookup.Asked != 3 {
		t.Errorf("categories %+v", r.Categories)
	}
	if one := read(coverage.Query{From: today - 1, To: today - 1, Category: "网上购物"}); len(one.Rows) != 2 || one.Total.Lookup.Asked != 2 || len(one.Days) != 1 {
		t.Errorf("one category on one day: %+v", one)
	}
	if one := read(coverage.Query{From: today, To: today, Platform: "b"}); len(one.Rows) != 1 || one.Total.Lookup.Silent != 1 {
		t.Errorf("one platform: %+v", one)
	}
	if none := read(coverage.Query{From: today - 300, To: today - 200}); len(none.Days) != 0 || none.Total.Lookup.Asked != 0 {
		t.Errorf("before counting began: %+v", none.Days)
	}
	l.err = errors.New("broken")
	if _, err := coverage.Read(t.Context(), l, c, catalogue, rightNow()); !errors.Is(err, l.err) {
		t.Errorf("a store that fails: %v", err)
	}
}

// TestReadWhileFlushing: whenever a flush comes, a reader finds every answer once.
func TestReadWhileFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := newLedger(), coverage.NewCounter(nil)
		l.hook = func() { time.Sleep(time.Millisecond) } // lets the other side in
		catalogue := []platform.Entry{{ID: "a"}}
		var all sync.WaitGroup
		end := make(chan struct{})
		all.Go(func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Microsecond):
				}
				if err := c.Flush(t.Context(), l); err != nil {
					t.Error(err)
				}
			}
		})
		for i := range int64(300) {
			c.Observe("a", answered(time.Millisecond))
			q := rightNow()
			q.Ever = i%2 == 0
			r, err := coverage.Read(t.Context(), l, c, catalogue, q)
			if err != nil || r.Total.Lookup.Asked != i+1 {
				t.Fatalf("after %d answers the report has %d, %v", i+1, r.Total.Lookup.Asked, err)
			}
		}
		close(end)
		all.Wait()
	})
}

func TestFlush(t *testing.T) {
	l, c := newLedger(), coverage.NewCounter(nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 250 {
				c.Observe(platform.ID([]string{"a", "b"}[i%2]), answered(time.Millisecond))
			}
			c.ObserveLate("a", answered(time.Hour))
			c.ObserveLate("a", platform.Answer{State: platform.Silent}) // says nothing
		})
	}
	wg.Wait()
	l.err = errors.New("broken")
	if err := c.Flush(t.Context(), l); !errors.Is(err, l.err) {
		t.Errorf("a flush that fails: %v", err)
	}
	l.err = nil
	for range 2 { // nothing is lost, nothing doubled
		if err := c.Flush(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if a, b := l.ever["a"], l.ever["b"]; a.Asked != 1000 || b.Answered != 1000 || a.Late != 8 || a.Answered != 1000 || b.Late != 0 {
			t.Fatalf("flushed %+v and %+v", a, b)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	l.hook = func() {
		cancel()
		if _, err := coverage.Read(cancelled, l, c, nil, rightNow()); !errors.Is(err, context.Canceled) {
			t.Errorf("a reader who left: %v", err)
		}
	}
	c.Observe("a", answered(1))
	if err := c.Flush(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// TestDayOfAnswers: an answer counts on the day in China on which it came.
func TestDayOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := newLedger(), coverage.NewCounter(nil)
		midnight := coverage.DayOf(time.Now()) + 1
		time.Sleep(time.Until(midnight.Start().Add(-1)))
		c.Observe("a", answered(1))
		time.Sleep(time.Nanosecond)
		c.Observe("a", answered(1))
		c.Observe("a", answered(1))
		if err := c.Flush(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if before, after := l.days[coverage.Cell{Platform: "a", Day: midnight - 1}], l.days[coverage.Cell{Platform: "a", Day: midnight}]; before.Asked != 1 || after.Asked != 2 {
			t.Errorf("%d and %d", before.Asked, after.Asked)
		}
	})
}

func TestDays(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1970-01-01": time.Date(1969, 12, 31, 16, 0, 0, 0, time.UTC),
		"2026-10-01": time.Date(2026, 9, 30, 16, 0, 0, 0, time.UTC),
		"2024-02-29": time.Date(2024, 2, 28, 16, 0, 0, 0, time.UTC),
	} {
		d, err := coverage.ParseDay(text)
		if err != nil || !d.Start().Equal(want) || d.String() != text || coverage.DayOf(want) != d || coverage.DayOf(want.Add(-1)) != d-1 {
			t.Errorf("%s: %v %v %v", text, d, d.Start(), err)
		}
		if coverage.DueDay(want) != d-1 || coverage.DueDay(want.Add(1)) != d {
			t.Errorf("what is due at the first moment of %s is due the day before", text)
		}
	}
	for _, bad := range []string{"", "2026-2-1", "2026-02-30", "1969-12-31", "2200-01-01", "20261001", "2026-10-01T00:00:00Z", "2026/10/01", " 2026-10-01"} {
		if d, err := coverage.ParseDay(bad); err == nil {
			t.Errorf("%q is %v", bad, d)
		}
	}
}

func TestUnbinds(t *testing.T) {
	var u coverage.Unbinds
	if _, ok := u.OnTimeRate(); ok {
		t.Error("nothing due has a rate")
	}
	if _, ok := u.EndWithin(0.5); ok {
		t.Error("nothing ended has a percentile")
	}
	at := func(d time.Duration) (ends [coverage.EndBuckets]int64) { ends[coverage.EndBucket(d)] = 1; return ends }
	for _, part := range []coverage.Unbinds{
		{Taken: 4, Due: 4}, {Completed: 1, Ends: at(30 * time.Second)}, {Completed: 1, Ends: at(24 * time.Hour)}, {OnTime: 2},
		{Refused: map[string]int64{"HAS_DEBT": 1}, Ends: at(6*24*time.Hour + 1)}, {Abandoned: 1}, {Refused: nil},
	} {
		u.Merge(part)
	}
	if rate, ok := u.OnTimeRate(); !ok || rate != 0.5 || u.Refusals() != 1 {
		t.Errorf("%v %v %+v", rate, ok, u)
	}
	for p, want := range map[float64]int32{0: 60, 0.25: 60, 0.5: 86400, 0.75: 7 * 86400, 0.76: coverage.Never, 1: coverage.Never} {
		if got, ok := u.EndWithin(p); !ok || got != want {
			t.Errorf("percentile %v is %d %v, want %d", p, got, ok, want)
		}
	}
	for i := range coverage.EndBuckets - 2 {
		a, _ := coverage.EndBound(i)
		b, ok := coverage.EndBound(i + 1)
		if a >= b || !ok || coverage.EndBucket(a) != i || coverage.EndBucket(a+1) != i+1 {
			t.Errorf("bucket %d", i)
		}
	}
	if _, ok := coverage.EndBound(coverage.EndBuckets - 1); ok || coverage.EndBucket(365*24*time.Hour) != coverage.EndBuckets-1 || coverage.EndBucket(-1) != 0 {
		t.Error("the last bucket is not open")
	}
}

// TestMergeOfUnbindsIsApart: adding to a sum leaves what was added as it was.
func TestMergeOfUnbindsIsApart(t *testing.T) {
	part := coverage.Unbinds{Refused: map[string]int64{"HAS_DEBT": 1}}
	var sum coverage.Unbinds
	sum.Merge(part)
	sum.Merge(part)
	if !reflect.DeepEqual(part.Refused, map[string]int64{"HAS_DEBT": 1}) || sum.Refused["HAS_DEBT"] != 2 {
		t.Errorf("%+v and %+v", part, sum)
	}
}
