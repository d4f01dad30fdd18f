package unbind_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

const year = 365 * 24 * time.Hour

// away is how far the machine's clock is from the bubble's time to begin with:
// whoever looks at the wrong clock is years off.
const away = 5 * year

// reclock starts the hub again on a machine whose clock is set so far from the
// bubble's time.
func (h *hub) reclock(set *time.Duration) {
	h.Helper()
	h.stop()
	h.check(h.store.Close())
	c := clock.New(clock.Options{Wall: func() time.Time { return time.Now().Add(*set) }})
	var err error
	h.store, err = bolt.Open(h.path, h.keys, bolt.WithClock(c))
	h.check(err)
	h.service = unbind.NewService(unbind.Options{
		Queue: h.store, Orders: h.store, MAC: h.keys, Logger: slog.New(slog.DiscardHandler), Now: c.Now,
		DueTime: func(t time.Time) time.Time { return t.Add(120 * time.Hour) },
	})
	h.run()
}

// TestClockSteps: an order at a platform that is down goes on being sent at the
// same pace, is not given up early and not due early, whatever the machine's clock
// is set to while the hub runs or over a start; once it is old it is given up.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour, year, -year} {
		for _, restarts := range []bool{false, true} {
			if restarts && step > 0 {
				continue // a start takes what is ahead, or refuses it
			}
			shop := &peer{id: "shop", unbind: func(context.Context, int) (platform.Report, error) {
				return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
			}}
			inHub(t, func(h *hub) {
				set := away
				h.options.MaxAge = 24 * time.Hour
				h.reclock(&set)
				look := h.place("alice", "shop")
				time.Sleep(12 * time.Hour)
				before, _ := shop.calls()
				set = away + step
				if restarts {
					h.reclock(&set)
				}
				time.Sleep(15 * time.Minute) // the longest that two attempts are apart
				sent, _ := shop.calls()
				if n := len(sent) - len(before); n < 1 || n > 4 {
					h.Errorf("set by %v: %d attempts in a quarter of an hour", step, n)
				}
				time.Sleep(11 * time.Hour)
				o := look()
				h.state(o, unbind.Queued)
				if left := o.DueTime.Sub(time.Now().Add(away)); left != 120*time.Hour-(23*time.Hour+15*time.Minute) {
					h.Errorf("set by %v: due in %v", step, left)
				}
				time.Sleep(2 * time.Hour)
				h.state(look(), unbind.Abandoned)
			}, shop)
		}
	}
}

// TestLeaseOverAStep: an order that is being sent is nobody else's to send when the
// clock is set in the middle, and its answer is taken.
func TestLeaseOverAStep(t *testing.T) {
	for _, set := range []time.Duration{away, -away} {
		shop := &peer{id: "shop", unbind: func(context.Context, int) (platform.Report, error) {
			time.Sleep(5 * time.Second)
			return report(platform.StageCompleted, time.Now().Add(set)), nil
		}}
		inHub(t, func(h *hub) {
			now := set
			h.reclock(&now)
			for i, step := range []time.Duration{time.Hour, -time.Hour, year, -year} {
				look := h.place(fmt.Sprint("person", i), "shop")
				time.Sleep(time.Second)
				h.state(look(), unbind.Sending)
				now = set + step
				h.service.Wake()
				h.state(look(), unbind.Sending)
				time.Sleep(5 * time.Second)
				h.state(look(), unbind.Completed)
				if sent, _ := shop.calls(); len(sent) != i+1 {
					h.Errorf("set by %v: sent %d times, want %d", step, len(sent), i+1)
				}
			}
		}, shop)
	}
}
