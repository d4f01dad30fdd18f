package lookup_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
)

const year = 365 * 24 * time.Hour

// away is how far the machine's clock is from the bubble's time to begin with:
// whoever looks at the wrong clock is years off.
const away = -5 * year

// clocked is a hub on a machine whose clock can be set.
type clocked struct {
	*hub
	clock *clock.Clock
	set   time.Duration
	end   func()
}

func withClock(t *testing.T, story func(*clocked), platforms ...*peer) {
	inHub(t, func(h *hub) {
		c := &clocked{hub: h, end: func() {}}
		c.restart()
		story(c)
		c.end()
	}, platforms...)
}

func (h *clocked) restart() {
	h.Helper()
	h.end()
	h.service.Close(h.Context())
	h.check(h.store.Close())
	h.clock = clock.New(clock.Options{Wall: func() time.Time { return time.Now().Add(away + h.set) }})
	var err error
	h.store, err = bolt.Open(h.path, h.keys, bolt.WithClock(h.clock))
	h.check(err)
	h.service = lookup.New(lookup.Options{
		Store: h.store, Joined: h.Joined, Catalogue: h.catalogue, MAC: h.keys, Limits: h.limits, Observe: h.observe, ObserveLate: h.observeLate,
		Carrier: h.carrier, Notifier: h.outbox, Logger: slog.New(slog.DiscardHandler), Now: h.clock.Now,
	})
	h.end = h.run()
}

func (h *clocked) sweep() {
	h.Helper()
	_, err := h.store.Sweep(h.Context(), h.clock.Now(), 500)
	h.check(err)
}

// TestClockSteps: silent platforms go on being asked, a late answer is taken and
// told of once, and the lookup stays and goes when it would have, whatever the
// machine's clock is set to while the hub runs or over a start.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour, year, -year} {
		for _, restarts := range []bool{false, true} {
			if restarts && step > 0 {
				continue // a start takes what is ahead, or refuses it
			}
			slow, dead := newFlaky("slow"), newFlaky("dead")
			withClock(t, func(h *clocked) {
				h.join(dead, slow)
				r := h.request("alice")
				begin := time.Now()
				l := h.start(r)
				time.Sleep(10 * time.Minute)
				h.set = step
				if restarts {
					h.restart()
				}
				h.sweep()
				before := len(dead.questions())
				time.Sleep(2 * time.Hour)
				if n := len(dead.questions()) - before; n < 2 || n > 12 {
					h.Errorf("set by %v: asked %d times in two hours", step, n)
				}
				for _, q := range dead.questions() {
					if left := q.Deadline.Sub(q.at); left != 2500*time.Millisecond {
						h.Fatalf("set by %v: a question has %v", step, left)
					}
				}
				slow.comeBack()
				time.Sleep(2 * time.Hour)
				h.states(h.get(r, l.ID), true, platform.Silent, platform.Bound)
				time.Sleep(24*time.Hour - time.Minute - time.Since(begin))
				if got := h.get(r, l.ID); !got.AwaitsLate(h.clock.Now()) {
					h.Errorf("set by %v: final before its time", step)
				}
				dead.comeBack()
				h.endsInTime(r, l, begin)
			}, slow.peer, dead.peer)
		}
	}
}

// endsInTime wants the lookup to be kept as long as it should be and no longer.
func (h *clocked) endsInTime(r lookup.Request, l lookup.Lookup, begin time.Time) {
	h.Helper()
	time.Sleep(24*time.Hour + h.limits.KeepAfterFinal - time.Since(begin) - 1)
	h.sweep()
	if got := h.get(r, l.ID); got.AwaitsLate(h.clock.Now()) {
		h.Error("not final after its time")
	}
	time.Sleep(2 * time.Nanosecond)
	h.sweep()
	if _, err := h.service.Get(h.Context(), r.Subject, l.ID); !errors.Is(err, fault.LookupNotFound) {
		h.Errorf("a lookup whose time is over: %v", err)
	}
}

// TestRateOverSteps: what a number may ask in a day is not renewed by a step.
func TestRateOverSteps(t *testing.T) {
	shop := newPeer("shop", atOnce)
	withClock(t, func(h *clocked) {
		h.limits.PerNumberDay, h.limits.PerSession = 2, 100
		h.restart()
		begin := time.Now()
		h.start(h.request("alice"))
		h.start(h.request("alice"))
		for _, step := range []time.Duration{time.Hour, -time.Hour, year, -year} {
			time.Sleep(time.Minute)
			h.set = step
			h.sweep()
			_, err := h.service.Start(h.Context(), h.request("alice"))
			if !errors.Is(err, fault.LookupRate) || fault.Of(err).RetryAfter != 24*time.Hour-time.Since(begin) {
				h.Errorf("set by %v: %v after %v", step, err, fault.Of(err).RetryAfter)
			}
		}
	}, shop)
}
