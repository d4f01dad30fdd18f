package unbind_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

func TestSyncPlatform(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	inHub(t, func(h *hub) {
		o := h.place("alice", "shop")()
		h.state(o, completed)
		sent, _ := shop.calls()
		if len(sent) != 1 || o.Attempts != 1 {
			h.Fatalf("sent %d times, %d attempts", len(sent), o.Attempts)
		}
		s := sent[0]
		if s.OrderID != o.ID || s.Number != o.Number || len(s.AccountRefs) != 1 || s.AccountRefs[0] != "old" ||
			!s.BoundBefore.Equal(holderSince) || s.Attempt != 1 || !s.DueTime.Equal(o.DueTime) {
			h.Errorf("the platform got %+v", s.UnbindOrder)
		}
		time.Sleep(100 * time.Hour)
		if sent, _ = shop.calls(); len(sent) != 1 {
			h.Errorf("a completed order was sent again: %d times", len(sent))
		}
	}, shop)
}

func TestFlappingPlatform(t *testing.T) {
	shop := &peer{id: "shop", unbind: failing(6, platform.CallError{Code: "UNAVAILABLE"}, says(platform.StageCompleted))}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		time.Sleep(10 * time.Minute)
		o := look()
		h.state(o, completed)
		sent, _ := shop.calls()
		if len(sent) != 7 || o.Attempts != 7 {
			h.Fatalf("sent %d times, %d attempts; want 7", len(sent), o.Attempts)
		}
		for i := 1; i < len(sent); i++ {
			gap, longest := sent[i].at.Sub(sent[i-1].at), time.Second<<(i-1)
			if gap < longest/2 || gap > longest {
				h.Errorf("gap %d is %v, want %v to %v", i, gap, longest/2, longest)
			}
			if sent[i].OrderID != o.ID || sent[i].Attempt != i+1 {
				h.Errorf("attempt %d was sent as %s, attempt %d", i+1, sent[i].OrderID, sent[i].Attempt)
			}
		}
	}, shop)
}

// TestManyDeadPlatforms: there is no limit over all platforms that they could
// use up.
func TestManyDeadPlatforms(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	peers := []*peer{shop}
	for i := range 70 {
		peers = append(peers, &peer{id: platform.ID(fmt.Sprint("dead", i)), unbind: hangs})
	}
	inHub(t, func(h *hub) {
		for i := range 280 {
			h.place(fmt.Sprint("waits", i), platform.ID(fmt.Sprint("dead", i%70)))
		}
		begin := time.Now()
		h.state(h.place("lucky", "shop")(), completed)
		if d := time.Since(begin); d != 0 {
			h.Errorf("an order at a healthy platform took %v", d)
		}
	}, peers...)
}

func TestAsyncPlatformIsPolledToTheEnd(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageInReview)}
	shop.status = func(_ context.Context, n int) (platform.Report, error) {
		r := report(platform.StageInReview, time.Now())
		switch n {
		case 1:
			return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
		case 2:
			r.CheckAfter = 3 * time.Hour
		case 3:
			r = report(platform.StageActionRequired, time.Now())
		case 4:
			r = report(platform.StageRefused, time.Now())
		}
		return r, nil
	}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		begin := time.Now()
		h.state(look(), review)
		time.Sleep(2 * time.Hour)
		h.restart() // polling goes on after a restart
		time.Sleep(2 * time.Hour)
		o := look()
		h.state(o, refused)
		if o.RefusalReason != "HAS_DEBT" || o.Attempts != 1 {
			h.Errorf("refused for %q after %d attempts", o.RefusalReason, o.Attempts)
		}
		sent, polled := shop.calls()
		if len(sent) != 1 || len(polled) != 5 {
			h.Fatalf("sent %d times, polled %d times; want 1 and 5", len(sent), len(polled))
		}
		var at []time.Duration
		for _, p := range polled {
			at = append(at, p.at.Sub(begin))
		}
		if at[0] != 2*time.Second || at[3]-at[2] != 3*time.Hour {
			h.Errorf("polled at %v", at)
		}
		for i := 1; i < 3; i++ {
			if at[i]-at[i-1] < time.Second<<i {
				h.Errorf("polls don't slow down: %v", at)
			}
		}
	}, shop)
}

func TestPollNotFoundSendsAgain(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageInReview)}
	shop.status = failing(1, platform.CallError{Code: platform.CodeNotFound}, says(platform.StageCompleted))
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		time.Sleep(2 * time.Second)
		o := look()
		h.state(o, review)
		sent, _ := shop.calls()
		if len(sent) != 2 || sent[1].OrderID != sent[0].OrderID || sent[1].Attempt != 2 || o.Attempts != 2 {
			h.Fatalf("after NOT_FOUND: sent %+v, %d attempts", sent, o.Attempts)
		}
		time.Sleep(time.Minute)
		h.state(look(), completed)
	}, shop)
}

func TestAlreadyExistsIsAbandoned(t *testing.T) {
	shop := &peer{id: "shop", unbind: failing(99, platform.CallError{Code: platform.CodeAlreadyExists}, nil)}
	inHub(t, func(h *hub) {
		o := h.place("alice", "shop")()
		h.state(o, abandoned)
		if last := o.History[len(o.History)-1]; last.Reason != "ALREADY_EXISTS" {
			h.Errorf("abandoned for %q", last.Reason)
		}
	}, shop)
}

func TestTooOldIsAbandoned(t *testing.T) {
	shop := &peer{id: "shop", unbind: failing(9999, platform.CallError{Code: "UNAVAILABLE"}, nil)}
	inHub(t, func(h *hub) {
		h.stop()
		h.options.MaxAge = 6 * time.Hour
		h.run()
		look := h.place("alice", "shop")
		time.Sleep(6 * time.Hour)
		h.state(look(), queued)
		time.Sleep(16 * time.Minute)
		h.state(look(), abandoned)
		sent, _ := shop.calls()
		time.Sleep(time.Hour)
		if again, _ := shop.calls(); len(again) != len(sent) {
			h.Error("an abandoned order was sent again")
		}
	}, shop)
}

// TestShutdownReturnsLeases: what a stop cuts off is sent again under the same
// id and costs no attempt.
func TestShutdownReturnsLeases(t *testing.T) {
	shop := &peer{id: "shop"}
	shop.unbind = func(ctx context.Context, n int) (platform.Report, error) {
		if n < 2 {
			return hangs(ctx, n)
		}
		return report(platform.StageCompleted, time.Now()), nil
	}
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		h.state(look(), sending)
		begin := time.Now()
		h.stop() // and Run, with the same store
		if o := look(); o.State != queued || o.Attempts != 0 || len(o.History) != 1 {
			h.Fatalf("after the stop: %+v", o)
		}
		h.run()
		h.state(look(), sending)
		h.restart()
		o := look()
		h.state(o, completed)
		sent, _ := shop.calls()
		if len(sent) != 3 || time.Since(begin) != 0 {
			h.Fatalf("sent %d times in %v", len(sent), time.Since(begin))
		}
		for _, s := range sent {
			if s.OrderID != o.ID || s.Attempt != 1 {
				h.Errorf("sent as %s, attempt %d", s.OrderID, s.Attempt)
			}
		}
	}, shop)
}

func TestSuspendedPlatformsOrdersWait(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	other := &peer{id: "other", unbind: says(platform.StageCompleted)}
	inHub(t, func(h *hub) {
		h.join(other)
		look := h.place("alice", "shop")
		h.state(h.place("alice", "other")(), completed)
		time.Sleep(29 * 24 * time.Hour)
		h.state(look(), queued)
		h.join(other, shop)
		h.state(look(), completed)
	}, shop, other)
}

// TestRunEndsWithTheStore: a store that fails ends the dispatcher with an error.
func TestRunEndsWithTheStore(t *testing.T) {
	inHub(t, func(h *hub) {
		h.stop()
		h.check(h.store.Close())
		d := unbind.NewDispatcher(unbind.DispatchOptions{Service: h.service, Joined: h.Joined, Logger: slog.New(slog.DiscardHandler)})
		if err := d.Run(h.Context()); err == nil {
			h.Error("Run went on over a closed store")
		}
		ctx, cancel := context.WithCancel(h.Context())
		cancel()
		for range 20 { // whichever case a select picks, a stop is no failure
			h.service.Wake()
			if err := d.Run(ctx); err != nil {
				h.Errorf("a stop ended Run with %v", err)
			}
		}
		h.openStore()
	})
}
