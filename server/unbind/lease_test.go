package unbind_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// TestLongCallKeepsItsLease: an attempt may take longer than a lease.
func TestLongCallKeepsItsLease(t *testing.T) {
	shop := &peer{id: "shop"}
	shop.unbind = func(ctx context.Context, _ int) (platform.Report, error) {
		select {
		case <-time.After(5 * time.Minute):
			return report(platform.StageCompleted, time.Now()), nil
		case <-ctx.Done():
			return platform.Report{}, &platform.CallError{Code: "CANCELLED"}
		}
	}
	inHub(t, func(h *hub) {
		h.stop()
		h.options.AttemptTimeout = 10 * time.Minute
		h.run()
		look := h.place("alice", "shop")
		for range 29 {
			time.Sleep(10 * time.Second)
			h.service.Wake()
			h.state(look(), sending)
		}
		time.Sleep(10 * time.Second)
		o := look()
		h.state(o, completed)
		if sent, _ := shop.calls(); len(sent) != 1 || o.Attempts != 1 {
			h.Errorf("sent %d times, %d attempts", len(sent), o.Attempts)
		}
	}, shop)
}

// losing is a store that takes leases away, as one that several hubs share may.
type losing struct {
	*bolt.Store
	on       atomic.Bool
	finished atomic.Int64
}

func (l *losing) Extend(ctx context.Context, c unbind.Claim, until time.Time) (unbind.Claim, error) {
	if l.on.Load() {
		return unbind.Claim{}, fault.LeaseLost.New()
	}
	return l.Store.Extend(ctx, c, until)
}

func (l *losing) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	l.finished.Add(1)
	return l.Store.Finish(ctx, c, t)
}

// TestLostLeaseEndsTheAttempt: whoever lost the lease stops, and writes nothing.
func TestLostLeaseEndsTheAttempt(t *testing.T) {
	shop := &peer{id: "shop", unbind: hangs}
	inHub(t, func(h *hub) {
		h.stop()
		store := &losing{Store: h.store}
		store.on.Store(true)
		h.newService(store)
		h.options.AttemptTimeout = time.Hour
		h.run()
		look := h.place("alice", "shop")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		shop.mu.Lock()
		under := shop.now
		shop.mu.Unlock()
		if under != 0 || store.finished.Load() != 0 {
			h.Fatalf("%d calls under way, %d outcomes written", under, store.finished.Load())
		}
		store.on.Store(false)
		time.Sleep(21 * time.Second) // the lease has run out
		h.service.Wake()
		h.state(look(), sending)
	}, shop)
}

// TestPanicIsAFailedAttempt: a fault of the program in one attempt keeps nothing
// else waiting, and its order is tried again.
func TestPanicIsAFailedAttempt(t *testing.T) {
	shop := &peer{id: "shop"}
	shop.unbind = func(ctx context.Context, n int) (platform.Report, error) {
		if n < 2 {
			panic("fault")
		}
		return report(platform.StageCompleted, time.Now()), nil
	}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		o := look()
		h.state(o, queued)
		if last := o.History[len(o.History)-1]; last.Reason != "PANIC" || o.Attempts != 1 {
			h.Errorf("after a panic: %+v", o)
		}
		h.state(h.place("bob", "shop")(), queued)
		time.Sleep(10 * time.Second)
		h.state(look(), completed)
		if n := h.now.UnderWay(); n != 0 {
			h.Errorf("%d attempts under way", n)
		}
	}, shop)
}
