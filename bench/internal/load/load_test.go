package load_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/server/phone"
)

// An open load puts as many as it should, whatever is still under way, and counts
// what belongs to the warm-up among the questions only.
func TestOpenKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var numbers load.Numbers
		r := load.Open(100, time.Second, 10*time.Second, &numbers, func(phone.Number) (int, int) {
			time.Sleep(20 * time.Millisecond)
			return 3, 2
		})
		if r.Lookups < 800 || r.Lookups > 1200 || len(r.Late) != r.Lookups {
			t.Errorf("%d lookups in 10 s at 100/s", r.Lookups)
		}
		if p50, last := load.Quantile(r.Latency, 0.5), load.Quantile(r.Latency, 1); p50 != 20*time.Millisecond || last != p50 {
			t.Errorf("p50 %v, last %v", p50, last)
		}
		if r.Asked <= int64(3*r.Lookups) || r.Share() < 0.66 || r.Share() > 0.67 {
			t.Errorf("asked %d with the warm-up, share %v", r.Asked, r.Share())
		}
	})
}

func TestClosedKeepsThatManyInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var numbers load.Numbers
		var mu sync.Mutex
		now, most := 0, 0
		r := load.Closed(8, time.Second, 2*time.Second, &numbers, func(phone.Number) (int, int) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return 1, 1
		})
		if most != 8 || r.PerSecond < 260 || r.PerSecond > 270 {
			t.Errorf("%d at once, %v/s", most, r.PerSecond)
		}
	})
}

func TestQuantiles(t *testing.T) {
	values := []time.Duration{1, 2, 3, 4}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := load.Quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if load.Quantile(nil, 0.5) != 0 || load.Median(nil) != 0 {
		t.Error("nothing has no quantile")
	}
	if got := load.Median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median %v", got)
	}
	if got := load.Median([]float64{1, 4}); got != 2.5 {
		t.Errorf("median of two %v", got)
	}
}
