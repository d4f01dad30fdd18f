// Package load puts lookups to a hub, as many at once or as often as is wanted,
// and says how fast they came back.
package load

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/phone"
)

// Lookup asks platforms about a number and says how many were asked and how
// many answered.
type Lookup func(phone.Number) (asked, answered int)

// Numbers gives numbers that repeat only after ten million, so that nothing can
// be answered once for two who ask.
type Numbers struct{ next atomic.Uint64 }

// Next is the next number. It is safe for concurrent use.
func (n *Numbers) Next() phone.Number {
	number, err := phone.ParseNumber(fmt.Sprintf("1380%07d", n.next.Add(1)%10_000_000))
	if err != nil {
		panic(err) // every number of that form is one
	}
	return number
}

// Result is what a load saw.
type Result struct {
	Lookups   int             // that were measured
	PerSecond float64         // of those
	Latency   []time.Duration // of each, ascending; an open load only
	Late      []time.Duration // how much too late each was put, ascending; an open load only
	Asked     int64           // questions, those of the warm-up too
	Answered  int64
}

// Share is the share of the questions that were answered.
func (r Result) Share() float64 {
	if r.Asked == 0 {
		return 0
	}
	return float64(r.Answered) / float64(r.Asked)
}

// Closed keeps n lookups in flight and counts those that end within d, after a
// warm-up that is not counted.
func Closed(n int, warm, d time.Duration, numbers *Numbers, f Lookup) Result {
	var lookups, asked, answered atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now().Add(warm)
	end := begin.Add(d)
	for range n {
		wg.Go(func() {
			for time.Now().Before(end) {
				a, b := f(numbers.Next())
				asked.Add(int64(a))
				answered.Add(int64(b))
				if now := time.Now(); now.After(begin) && now.Before(end) {
					lookups.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return Result{
		Lookups: int(lookups.Load()), PerSecond: float64(lookups.Load()) / d.Seconds(),
		Asked: asked.Load(), Answered: answered.Load(),
	}
}

// Open puts lookups at random moments, perSecond on average, whether or not the
// ones before have ended. The moments are the same at every call. A latency
// counts from the moment at which the lookup was due, so that a load that falls
// behind does not look fast.
func Open(perSecond float64, warm, d time.Duration, numbers *Numbers, f Lookup) Result {
	dice := rand.New(rand.NewPCG(1, 2))
	var r Result
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for due := time.Duration(0); due < warm+d; due += time.Duration(dice.ExpFloat64() / perSecond * float64(time.Second)) {
		time.Sleep(time.Until(start.Add(due)))
		late := time.Since(start) - due
		number := numbers.Next()
		wg.Go(func() {
			asked, answered := f(number)
			took := time.Since(start) - due
			mu.Lock()
			defer mu.Unlock()
			r.Asked += int64(asked)
			r.Answered += int64(answered)
			if due >= warm {
				r.Latency = append(r.Latency, took)
				r.Late = append(r.Late, late)
			}
		})
	}
	wg.Wait()
	slices.Sort(r.Latency)
	slices.Sort(r.Late)
	r.Lookups = len(r.Latency)
	r.PerSecond = float64(r.Lookups) / d.Seconds()
	return r
}

// Quantile is the value below which a share q of the ascending values lies; 0
// for no values.
func Quantile(ascending []time.Duration, q float64) time.Duration {
	if len(ascending) == 0 {
		return 0
	}
	return ascending[min(int(q*float64(len(ascending))), len(ascending)-1)]
}

// Median is the middle of the values; 0 for none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
