package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// watched is a store that notes when orders were asked for and completed.
type watched struct {
	*bolt.Store
	mu        sync.Mutex
	measuring bool
	orders    map[string]life
	done      int
	attempts  map[platform.ID]int // while measuring
}

// life is an order's, as far as it is known: the answer to the request and the
// end come in any order.
type life struct {
	platform   platform.ID
	began, end time.Time
	measured   bool
}

func newWatched(s *bolt.Store) *watched {
	return &watched{Store: s, orders: make(map[string]life), attempts: make(map[platform.ID]int)}
}

// Finish is the store's.
func (w *watched) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	o, err := w.Store.Finish(ctx, c, t)
	if err == nil && o.State == unbind.Completed {
		now := time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		l := w.orders[o.ID]
		l.end = now
		w.orders[o.ID] = l
		w.done++
	}
	return o, err
}

func (w *watched) placed(o unbind.Order, began time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.orders[o.ID]
	l.platform, l.began, l.measured = o.Platform, began, w.measuring
	w.orders[o.ID] = l
}

func (w *watched) attempted(p platform.ID, _ string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.measuring {
		w.attempts[p]++
	}
}

func (w *watched) measure(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.measuring = on
}

func (w *watched) completed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// took is how long the measured orders took of the platforms that aren't bad,
// ascending, and how many of them are open.
func (w *watched) took(bad map[platform.ID]bool) (took []time.Duration, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.orders {
		switch {
		case !l.measured || bad[l.platform]:
		case l.end.IsZero():
			open++
		default:
			took = append(took, l.end.Sub(l.began))
		}
	}
	slices.Sort(took)
	return took, open
}

// bad is how many attempts the bad platforms got, and how many of their measured
// orders were completed.
func (w *watched) bad(bad map[platform.ID]bool) (sent, done int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range bad {
		sent += w.attempts[p]
	}
	for _, l := range w.orders {
		if l.measured && bad[l.platform] && !l.end.IsZero() {
			done++
		}
	}
	return sent, done
}
