package coverage_test

import (
	"math"
	"math/rand/v2"
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
	if rate, ok := tally.SilentRate(); !ok || rate != 0.4 {
		t.Errorf("silent rate %v, %v", rate, ok)
	}
	if rate, ok := tally.LateRate(); !ok || rate != 0 {
		t.Errorf("late rate %v, %v", rate, ok)
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

// TestWithin: percentiles over all questions, where no answer takes for ever.
func TestWithin(t *testing.T) {
	var tally coverage.Tally
	if v, ok := tally.Within(0.5); ok {
		t.Errorf("nothing asked has a percentile of %d", v)
	}
	for range 90 {
		tally.Add(answered(time.Millisecond))
	}
	for range 10 {
		tally.Add(platform.Answer{State: platform.Silent})
	}
	for _, c := range []struct {
		p    float64
		want int32
	}{{0, 1}, {0.5, 1}, {0.9, 1}, {0.901, coverage.Never}, {0.95, coverage.Never}, {1, coverage.Never}} {
		if got, ok := tally.Within(c.p); !ok || got != c.want {
			t.Errorf("percentile %v is %d %v, want %d", c.p, got, ok, c.want)
		}
	}
	if got, _ := tally.Percentile(0.95); got != 1 {
		t.Errorf("of the answers alone it is %d", got)
	}
	var silent coverage.Tally
	silent.Add(platform.Answer{State: platform.Silent})
	if got, ok := silent.Within(0.5); !ok || got != coverage.Never {
		t.Errorf("of one that never answers: %d %v", got, ok)
	}
	var slow coverage.Tally
	slow.Add(answered(time.Hour))
	if got, ok := slow.Within(0.5); !ok || got != coverage.Never {
		t.Errorf("of the open bucket: %d %v", got, ok)
	}
}
