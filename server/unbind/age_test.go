package unbind_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

const (
	month = 30 * 24 * time.Hour
	hours = time.Hour
)

// tooOld checks that the order became a dead letter for its age.
func (h *hub) tooOld(o unbind.Order) {
	h.Helper()
	h.state(o, abandoned)
	if last := o.History[len(o.History)-1]; last.Reason != "TOO_OLD" {
		h.Errorf("abandoned for %q", last.Reason)
	}
}

// TestPlatformThatIsGone: what waits for a platform that left, or never came,
// reaches the dead letters, and what it once took does not hide it.
func TestPlatformThatIsGone(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageInReview), status: says(platform.StageInReview)}
	inHub(t, func(h *hub) {
		taken := h.placeMany("taken", 70, "shop") // more than a page
		time.Sleep(time.Minute)
		h.join()
		time.Sleep(time.Minute) // so that they are due first
		waiting := h.placeMany("waits", 70, "shop")
		never := h.place("alice", "never")
		time.Sleep(month - hours)
		for _, look := range append(waiting, never) {
			h.state(look(), queued)
		}
		later := h.place("later", "shop")
		time.Sleep(4 * hours)
		for _, look := range append(waiting, never) {
			h.tooOld(look())
		}
		h.state(later(), queued)
		for _, look := range taken {
			h.state(look(), review)
		}
		h.join(shop)
		time.Sleep(7 * hours) // what is in review is asked about again
		h.state(later(), review)
		_, polled := shop.calls()
		asked := make(map[string]bool)
		for _, c := range polled {
			if time.Since(c.at) < 7*hours {
				asked[c.OrderID] = true
			}
		}
		if len(asked) != 71 {
			h.Errorf("%d of 71 orders in review were asked about", len(asked))
		}
	}, shop)
}

// TestPlatformThatIsDown: orders that wait behind a probe are given up in time,
// too.
func TestPlatformThatIsDown(t *testing.T) {
	shop, _ := ailing("shop", platform.CallError{Code: "UNAVAILABLE"})
	inHub(t, func(h *hub) {
		h.stop()
		h.options.MaxAge = 48 * hours
		h.run()
		looks := h.placeMany("waits", 200, "shop") // more than a few pages
		time.Sleep(48 * hours)
		for _, look := range looks {
			h.state(look(), queued)
		}
		time.Sleep(2 * hours)
		for _, look := range looks {
			h.tooOld(look())
		}
	}, shop)
}

// TestAgeNeedsProof: a hub that was off for a month tries before it gives up.
func TestAgeNeedsProof(t *testing.T) {
	shop, _ := ailing("shop", platform.CallError{Code: "INTERNAL"})
	inHub(t, func(h *hub) {
		h.join()
		look := h.place("alice", "shop")
		h.stop()
		time.Sleep(month + hours)
		h.join(shop)
		h.run()
		time.Sleep(2 * hours)
		h.state(look(), queued)
		time.Sleep(20 * time.Minute)
		h.tooOld(look())
		if sent, _ := shop.calls(); len(sent) < 12 {
			h.Errorf("given up after %d attempts", len(sent))
		}
	})
}

// TestReviewThatNeverEnds: what the platform has taken is asked about every hour
// for as long as it is in review, and shown as overdue.
func TestReviewThatNeverEnds(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageInReview), status: says(platform.StageInReview)}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		time.Sleep(2 * month)
		_, before := shop.calls()
		time.Sleep(10 * hours)
		_, after := shop.calls()
		o := look()
		h.state(o, review)
		if n := len(after) - len(before); n != 10 || !o.Overdue(time.Now()) {
			h.Errorf("asked %d times in ten hours, overdue: %t", n, o.Overdue(time.Now()))
		}
	}, shop)
}

// TestAlwaysPutOff: a platform that puts an order off for ever loses it in the end.
func TestAlwaysPutOff(t *testing.T) {
	shop := &peer{id: "shop"}
	shop.unbind = func(context.Context, int) (platform.Report, error) {
		return platform.Report{}, &platform.CallError{Code: "RESOURCE_EXHAUSTED", RetryAfter: 24 * hours}
	}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		time.Sleep(month)
		h.state(look(), queued)
		time.Sleep(25 * hours)
		h.tooOld(look())
	}, shop)
}

// TestOftenPutOff: so does one that answers all else and puts an order off by so
// little each time that its history holds less than it has to be tried for.
func TestOftenPutOff(t *testing.T) {
	shop := &peer{id: "shop"}
	taken := platform.Report{Stage: platform.StageInReview, CheckAfter: time.Minute}
	shop.status = func(context.Context, int) (platform.Report, error) { return taken, nil }
	shop.unbind = func(_ context.Context, n int) (platform.Report, error) {
		switch n {
		case 0:
			return taken, nil
		case 10: // and is appealed against, so that the steps before count no more
			return platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_BALANCE", Time: time.Now()}, nil
		}
		return platform.Report{}, &platform.CallError{Code: "RESOURCE_EXHAUSTED", RetryAfter: 100 * time.Second}
	}
	inHub(t, func(h *hub) {
		h.stop()
		h.options.MaxAge = 3 * hours
		h.run()
		h.place("bob", "shop")
		time.Sleep(time.Second)
		look := h.place("alice", "shop")
		time.Sleep(hours)
		h.appeal(look(), 1, "")
		time.Sleep(3 * hours)
		h.state(look(), unbind.Appealed)
		time.Sleep(5 * time.Minute)
		h.tooOld(look())
	}, shop)
}

// fragile is a queue whose first outcome is a panic.
type fragile struct {
	unbind.Queue
	broke atomic.Bool
}

func (f *fragile) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	if f.broke.CompareAndSwap(false, true) {
		panic("fault")
	}
	return f.Queue.Finish(ctx, c, t)
}

// TestPanicWhileAging: a fault while a platform's oldest orders are looked at does
// not keep them from being looked at again.
func TestPanicWhileAging(t *testing.T) {
	inHub(t, func(h *hub) {
		h.stop()
		queue := &fragile{Queue: h.store}
		h.newService(queue)
		h.run()
		look := h.place("alice", "never")
		time.Sleep(month + 3*hours)
		if !queue.broke.Load() {
			h.Fatal("nothing was looked at")
		}
		h.tooOld(look())
	})
}
