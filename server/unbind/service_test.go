package unbind_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// orderNow is an order and how often it was sent.
type orderNow struct {
	unbind.Order
	sent int
}

// TestWhatIsDetached: only accounts that were bound before the very date on
// which the holder was attested.
func TestWhatIsDetached(t *testing.T) {
	before := platform.Account{Ref: "before", Period: platform.BeforeHolder}
	since := platform.Account{Ref: "since", Period: platform.SinceHolder}
	unknown := platform.Account{Ref: "unknown", Period: platform.PeriodUnknown}
	all := []platform.Account{since, before, unknown}
	asked := unbind.Asked{Joined: true, Platform: "shop", Answered: true, Unbindable: true, HolderSince: holderSince, Accounts: all}
	with := func(change func(*unbind.Asked)) unbind.Asked {
		a := asked
		change(&a)
		return a
	}
	for name, tt := range map[string]struct {
		asked      unbind.Asked
		unattested bool // the session has no date
		allow      bool // orders by account alone are permitted
		reason     fault.Reason
		refs       int
	}{
		"before the holder":     {asked: asked, refs: 1},
		"silent":                {asked: with(func(a *unbind.Asked) { a.Answered = false }), reason: fault.NotLookedUp},
		"since the holder":      {asked: with(func(a *unbind.Asked) { a.Accounts = []platform.Account{since, unknown} }), reason: fault.NothingToUnbind},
		"none":                  {asked: with(func(a *unbind.Asked) { a.Accounts = nil }), reason: fault.NothingToUnbind},
		"split by another date": {asked: with(func(a *unbind.Asked) { a.HolderSince = holderSince.Add(1) }), reason: fault.NothingToUnbind},
		"split by no date":      {asked: with(func(a *unbind.Asked) { a.HolderSince = time.Time{} }), reason: fault.NothingToUnbind},
		"not attested":          {asked: asked, unattested: true, reason: fault.HolderUnattested},
		"attested, permitted":   {asked: asked, allow: true, refs: 1},
		"unattested, permitted": {asked: asked, unattested: true, allow: true, refs: 3},
		"takes no orders":       {asked: with(func(a *unbind.Asked) { a.Unbindable = false }), reason: fault.UnbindUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			inHub(t, func(h *hub) {
				s := unbind.NewService(unbind.Options{
					Queue: h.store, Orders: h.store, MAC: h.keys, AllowUnattested: tt.allow,
					DueTime: func(t time.Time) time.Time { return t.Add(time.Hour) }, Logger: slog.New(slog.DiscardHandler),
				})
				r := h.ask("alice")
				r.Asked = []unbind.Asked{tt.asked}
				if tt.unattested {
					r.HolderSince = time.Time{}
				}
				placed, err := s.Request(h.Context(), r)
				h.check(err)
				o := placed[0].Order
				if placed[0].Reason != tt.reason || len(o.AccountRefs) != tt.refs || tt.refs == 1 && o.AccountRefs[0] != "before" {
					h.Errorf("reason %q, accounts %v", placed[0].Reason, o.AccountRefs)
				}
				if tt.refs > 0 && !o.BoundBefore.Equal(r.HolderSince) {
					h.Errorf("bound before %v, want %v", o.BoundBefore, r.HolderSince)
				}
			})
		})
	}
}

func TestRequestIDs(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.ask("alice", "shop")
		first, err := h.service.Request(h.Context(), r)
		h.check(err)
		again, err := h.service.Request(h.Context(), r)
		h.check(err)
		if again[0].Order.ID != first[0].Order.ID {
			h.Error("a repeat made another order")
		}
		other := h.ask("alice", "shop", "bank")
		other.RequestID = r.RequestID
		if _, err := h.service.Request(h.Context(), other); !errors.Is(err, fault.RequestIDReused) {
			h.Errorf("another body: %v", err)
		}
		bob := h.ask("bob", "shop") // another person's id is another id
		bob.RequestID = r.RequestID
		placed, err := h.service.Request(h.Context(), bob)
		h.check(err)
		if placed[0].Order.ID == first[0].Order.ID {
			h.Error("a request id of one person answered another's")
		}
	})
}

// waiting is a Wait under way.
type waiting struct {
	order unbind.Order
	err   error
	took  time.Duration
}

func (h *hub) wait(ctx context.Context, r unbind.Request, id string, d time.Duration) <-chan waiting {
	out := make(chan waiting, 1)
	begin := time.Now()
	go func() {
		o, err := h.service.Wait(ctx, r.Subject, id, d)
		out <- waiting{order: o, err: err, took: time.Since(begin)}
	}()
	synctest.Wait()
	return out
}

func TestWait(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageInReview), status: says(platform.StageInReview)}
	inHub(t, func(h *hub) {
		h.join() // nobody takes the order yet
		r := h.ask("alice", "shop")
		placed, err := h.service.Request(h.Context(), r)
		h.check(err)
		id := placed[0].Order.ID
		h.waited(<-h.wait(h.Context(), r, id, 0), queued, 0)
		h.waited(<-h.wait(h.Context(), r, id, 30*time.Second), queued, 30*time.Second)

		w := h.wait(h.Context(), r, id, time.Hour)
		time.Sleep(time.Second)
		h.join(shop)
		got := <-w
		if got.err != nil || got.took != time.Second || got.order.State == queued {
			h.Fatalf("at its next change: %s, %v after %v", got.order.State, got.err, got.took)
		}
		synctest.Wait()

		w = h.wait(h.Context(), r, id, time.Second)
		_, changed, err := h.service.Report(h.Context(), "shop", id, report(platform.StageCompleted, time.Now()))
		h.check(err)
		if !changed {
			h.Error("the report changed nothing")
		}
		h.waited(<-w, completed, 0)
		h.waited(<-h.wait(h.Context(), r, id, time.Hour), completed, 0) // it has ended

		if got := <-h.wait(h.Context(), h.ask("bob"), id, time.Hour); !errors.Is(got.err, fault.UnbindNotFound) || got.took != 0 {
			h.Errorf("another person's order: %v after %v", got.err, got.took)
		}
	}, shop)
}

func (h *hub) waited(w waiting, want unbind.State, took time.Duration) {
	h.Helper()
	if w.err != nil || w.order.State != want || w.took != took {
		h.Errorf("waited %v for %s, %v; want %v, %s", w.took, w.order.State, w.err, took, want)
	}
}

func TestWaitIsCutOffAndCancelIsSeen(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.ask("alice", "shop")
		placed, err := h.service.Request(h.Context(), r)
		h.check(err)
		id := placed[0].Order.ID
		ctx, cancel := context.WithCancel(h.Context())
		w := h.wait(ctx, r, id, time.Hour)
		cancel()
		if got := <-w; !errors.Is(got.err, context.Canceled) {
			h.Errorf("cut off: %v", got.err)
		}
		w = h.wait(h.Context(), r, id, time.Hour)
		_, err = h.service.Cancel(h.Context(), r.Subject, id)
		h.check(err)
		h.waited(<-w, cancelled, 0)
		list, err := h.service.List(h.Context(), r.Subject, "", 10)
		h.check(err)
		if len(list) != 1 || list[0].State != cancelled {
			h.Errorf("listed: %+v", list)
		}
	})
}
