package coverage_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

func answered(took time.Duration) platform.Answer {
	return platform.Answer{State: platform.Bound, Took: took}
}

func TestTally(t *testing.T) {
	var tally coverage.Tally
	if _, ok := tally.Rate(); ok {
		t.Error("nothing asked has a rate")
	}
	if _, ok := tally.Percentile(0.5); ok {
		t.Error("nothing answered has a percentile")
	}
	for _, a := range []platform.Answer{
		answered(time.Millisecond), {State: platform.NotBound}, {State: platform.NoData}, {State: platform.Silent}, {State: platform.Silent, Malformed: true},
	} {
		tally.Add(a)
	}
	if tally.Asked != 5 || tally.Answered != 3 || tally.Silent != 2 || tally.Malformed != 1 {
		t.Errorf("tally %+v", tally)
	}
	if rate, ok := tally.Rate(); !ok || rate != 0.6 {
		t.Errorf("rate %v, %v", rate, ok)
	}
}

// TestBuckets: every answer lies in the first bucket that is wide enough.
func TestBuckets(t *testing.T) {
	check := func(took time.Duration) {
		t.Helper()
		var tally coverage.Tally
		tally.Add(answered(took))
		want := 0
		for coverage.Bound(want)*(1+1e-9) < float64(took)/1e6 {
			want++
		}
		if tally.Times[want] != 1 {
			t.Fatalf("%v does not lie in bucket %d (up to %v ms)", took, want, coverage.Bound(want))
		}
	}
	for _, took := range []time.Duration{-time.Second, 0, 1, time.Millisecond, time.Millisecond + 1, time.Hour, math.MaxInt64} {
		check(took)
	}
	for i := range coverage.Buckets - 1 {
		if coverage.Bound(i) >= coverage.Bound(i+1) {
			t.Errorf("bound %d is not below the next", i)
		}
		bound := time.Duration(coverage.Bound(i) * 1e6)
		check(bound)
		check(bound + bound/1000)
		check(bound - bound/1000)
	}
	for range 10000 {
		check(time.Duration(rand.Int64N(int64(time.Minute))))
	}
	if !math.IsInf(coverage.Bound(coverage.Buckets-1), 1) {
		t.Error("the last bucket is not open")
	}
}

func TestPercentile(t *testing.T) {
	var tally coverage.Tally
	for i := range 100 { // 1 … 100 ms
		tally.Add(answered(time.Duration(i+1) * time.Millisecond))
	}
	for _, tt := range []struct{ p, exact float64 }{{0, 1}, {0.01, 1}, {0.5, 50}, {0.9, 90}, {0.99, 99}, {1, 100}} {
		got, ok := tally.Percentile(tt.p)
		if !ok || float64(got) < tt.exact || float64(got) > math.Ceil(tt.exact*1.25) {
			t.Errorf("percentile %v is %d, %v; exactly %v", tt.p, got, ok, tt.exact)
		}
	}
	for range 400 {
		tally.Add(answered(time.Hour))
	}
	if got, _ := tally.Percentile(0.5); got != math.MaxInt32 {
		t.Errorf("a percentile in the open bucket is %d", got)
	}
	if got, _ := tally.Percentile(0.1); got < 50 || got > 63 {
		t.Errorf("percentile 0.1 is %d", got)
	}
}

// TestMerge: the sum of parts is the whole, however it is split.
func TestMerge(t *testing.T) {
	var whole coverage.Tally
	parts := make([]coverage.Tally, 7)
	for i := range 2000 {
		a := answered(time.Duration(rand.Int64N(int64(40 * time.Second))))
		if i%5 == 0 {
			a = platform.Answer{State: platform.Silent, Malformed: i%10 == 0}
		}
		whole.Add(a)
		parts[rand.IntN(len(parts))].Add(a)
	}
	var sum coverage.Tally
	for _, p := range parts {
		sum.Merge(p)
	}
	if sum != whole {
		t.Errorf("sum %+v, whole %+v", sum, whole)
	}
}

func TestCounter(t *testing.T) {
	c := coverage.NewCounter()
	var wg sync.WaitGroup
	taken := make(chan map[platform.ID]coverage.Tally, 100)
	for i := range 8 {
		wg.Go(func() {
			for range 250 {
				c.Observe(platform.ID([]string{"a", "b"}[i%2]), answered(time.Millisecond))
			}
			taken <- c.Take()
		})
	}
	wg.Wait()
	close(taken)
	c.PutBack(nil)
	for batch := range taken {
		c.PutBack(batch) // as after a failed flush: nothing is lost, nothing doubled
	}
	for range 2 {
		seen := c.Peek()
		if len(seen) != 2 || seen["a"].Asked != 1000 || seen["b"].Answered != 1000 {
			t.Fatalf("counted %d and %d", seen["a"].Asked, seen["b"].Answered)
		}
	}
	if len(c.Take()) != 2 || len(c.Peek()) != 0 {
		t.Error("Take does not begin anew")
	}
}

// fixed is a store of fixed counts.
type fixed struct{ err error }

func (f fixed) FlushTallies(context.Context, map[platform.ID]coverage.Tally) error { return f.err }

func (f fixed) Tallies(context.Context) (map[platform.ID]coverage.Tally, error) {
	return map[platform.ID]coverage.Tally{"a": {Asked: 4, Answered: 3, Silent: 1}, "gone": {Asked: 100}}, f.err
}

func (f fixed) OrderCounts(context.Context, time.Time) (map[platform.ID]coverage.Orders, error) {
	return map[platform.ID]coverage.Orders{
		"a": {Queued: 1, InReview: 2, Completed: 3, Refused: 4, Abandoned: 5, Cancelled: 6, Overdue: 1}, "b": {Queued: 10, Overdue: 7}, "gone": {Queued: 100},
	}, f.err
}

func (f fixed) FirstDay(context.Context) (time.Time, error) { return time.Unix(1, 0), f.err }

func TestRead(t *testing.T) {
	c := coverage.NewCounter()
	c.Observe("a", answered(time.Millisecond))
	c.Observe("b", platform.Answer{State: platform.Silent})
	catalogue := []platform.Entry{{ID: "a", Address: "h:1"}, {ID: "b", Address: "h:2", Suspended: true}, {ID: "c"}}
	r, err := coverage.Read(t.Context(), fixed{}, c, catalogue)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 3 || r.Joined != 1 || !r.Since.Equal(time.Unix(1, 0)) || r.AsOf.IsZero() {
		t.Fatalf("report %+v", r)
	}
	if a := r.Rows[0].Lookup; a.Asked != 5 || a.Answered != 4 {
		t.Errorf("what is not flushed yet is missing: %+v", a)
	}
	if b := r.Rows[1]; b.Lookup.Silent != 1 || b.Orders.Open() != 10 {
		t.Errorf("row b: %+v", b)
	}
	want := coverage.Orders{Queued: 11, InReview: 2, Completed: 3, Refused: 4, Abandoned: 5, Cancelled: 6, Overdue: 8}
	if !reflect.DeepEqual(r.Total.Orders, want) || r.Total.Lookup.Asked != 6 {
		t.Errorf("total %+v", r.Total)
	}
	if again, err := coverage.Read(t.Context(), fixed{}, c, catalogue); err != nil || again.Total.Lookup != r.Total.Lookup {
		t.Errorf("reading twice counts twice: %v", err)
	}
	broken := errors.New("broken")
	if _, err := coverage.Read(t.Context(), fixed{err: broken}, c, catalogue); !errors.Is(err, broken) {
		t.Errorf("a store that fails: %v", err)
	}
}
