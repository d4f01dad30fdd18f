package lookup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
)

func TestWaitLate(t *testing.T) {
	one, two := newFlaky("one"), newFlaky("two")
	inLate(t, nil, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		wait := func(d time.Duration, since int) lookup.Lookup {
			h.Helper()
			got, err := h.service.WaitLate(h.Context(), r.Subject, l.ID, d, since)
			h.check(err)
			return got
		}
		end := wait(time.Hour, 3) // two silences, then the end
		if !end.Complete || !end.AwaitsLate(time.Now()) || time.Since(l.CreateTime) != 2500*time.Millisecond {
			h.Errorf("the end: %+v after %v", end, time.Since(l.CreateTime))
		}
		if got := wait(time.Second, end.Revision); got.Revision != end.Revision || time.Since(l.CreateTime) != 3500*time.Millisecond {
			h.Errorf("no change: %d after %v", got.Revision, time.Since(l.CreateTime))
		}
		one.comeBack()
		first := wait(time.Hour, end.Revision)
		if d := one.questions()[1].at; first.Revision != end.Revision+1 || !first.AwaitsLate(time.Now()) || time.Since(d) != 2500*time.Millisecond {
			h.Errorf("the first: %d, %v after it was asked", first.Revision, time.Since(d))
		}
		began := time.Now()
		last := wait(48*time.Hour, first.Revision)
		if last.Revision != first.Revision || last.AwaitsLate(time.Now()) || !time.Now().Equal(l.FinalBy) {
			h.Errorf("the last: %d, %v later, final by %v", last.Revision, time.Since(began), l.FinalBy)
		}
		wait(time.Hour, 99)
		if !time.Now().Equal(l.FinalBy) {
			h.Error("it waits although nothing more comes")
		}
	}, one.peer, two.peer)
}

// TestWaitLateEnds: with the context, with the hub, and where nobody is asked
// again.
func TestWaitLateEnds(t *testing.T) {
	dead := newFlaky("dead")
	inLate(t, nil, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
		defer cancel()
		if _, err := h.service.WaitLate(ctx, r.Subject, l.ID, time.Hour, 99); !errors.Is(err, context.DeadlineExceeded) {
			h.Errorf("cut off: %v", err)
		}
		_, err := h.store.MergeLate(h.Context(), lookup.Round{LookupID: l.ID, Now: time.Now(), Stop: true}) // the number changed hands
		h.check(err)
		began := time.Now()
		if got, err := h.service.WaitLate(h.Context(), r.Subject, l.ID, time.Hour, 99); err != nil || got.AwaitsLate(time.Now()) || time.Since(began) != 0 {
			h.Errorf("nobody is asked again: %v after %v", err, time.Since(began))
		}
		other := h.start(r)
		time.AfterFunc(10*time.Second, h.service.Drain)
		if _, err := h.service.WaitLate(h.Context(), r.Subject, other.ID, time.Hour, 99); err != nil || time.Since(began) != 10*time.Second {
			h.Errorf("drained: %v after %v", err, time.Since(began))
		}
	}, dead.peer)
}

// TestWaitLateEndsWithTheHolder: who waits is told at once that nobody is asked
// any more.
func TestWaitLateEndsWithTheHolder(t *testing.T) {
	dead := newFlaky("dead")
	telco := &carrier{change: platform.ChangeNone}
	inLate(t, func(h *hub) { h.carrier = telco }, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		time.AfterFunc(3*time.Hour, func() { telco.say(platform.ChangeHands, nil) })
		got, err := h.service.WaitLate(h.Context(), r.Subject, l.ID, 20*time.Hour, 99)
		if d := time.Since(l.CreateTime); err != nil || got.AwaitsLate(time.Now()) || d < 3*time.Hour || d > 4*time.Hour+time.Minute {
			h.Errorf("%v after %v", err, d)
		}
	}, dead.peer)
}
