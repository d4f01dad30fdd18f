package unbind

import (
	"context"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

const (
	// holderAgain is how long an order waits whose holder could not be checked.
	holderAgain = 10 * time.Minute
	// checkWithin bounds a question to the carrier, and checkWhileDown one while
	// the carrier gives no answer.
	checkWithin    = 5 * time.Second
	checkWhileDown = time.Second
)

// holders asks the carrier who holds a number. While the carrier can't be asked,
// orders that were checked of late go on without: one of them asks now and then.
type holders struct {
	carrier platform.Carrier
	mu      sync.Mutex
	breaker breaker
}

// check asks about the order's number. fresh says that the last check still
// stands; false is returned where it is to stand, since the carrier is down.
func (h *holders) check(ctx context.Context, o Order, fresh bool) (platform.HolderChange, bool) {
	within, ask := h.enter(o.ID, fresh)
	if !ask {
		return platform.ChangeNoData, false
	}
	call, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	change, _, err := h.carrier.CheckHolder(call, o.Number, o.BoundBefore)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		h.breaker.forget(o.ID, time.Now())
	case err != nil:
		h.breaker.bad(o.ID, time.Now(), firstRest) // opens at once: the next order need not find out, too
	default:
		h.breaker.good()
	}
	return change, err == nil
}

// enter says whether to ask and for how long at most. An order whose check is
// too old always asks: its number may be of another carrier, which answers.
func (h *holders) enter(order string, fresh bool) (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.breaker.state == closed:
		return checkWithin, true
	case h.breaker.admits(time.Now()):
		h.breaker.begin(order)
		return checkWithin, true
	}
	return checkWhileDown, !fresh
}

// checkHolder asks the carrier, before every attempt at an order that was not
// taken yet, whether the number is still the person's. It returns when the
// carrier said so, or a transition where the order must not be sent now.
func (d *Dispatcher) checkHolder(ctx context.Context, o Order) (time.Time, *Transition) {
	if !untaken(o) {
		return time.Time{}, nil
	}
	checked, change := d.holder(ctx, o)
	now := d.now()
	var t Transition
	switch {
	case change == platform.ChangeNone:
		return checked, nil
	case change == platform.ChangeHands:
		t = HolderChanged(now)
	case d.tooOld(o, now, true):
		t = Abandon(Attempt{Ended: now}, tooOld)
	default:
		t = HolderUnknown(now, now.Add(holderAgain))
	}
	return time.Time{}, &t
}

// checkAgain does the same before an order is sent once more that the platform
// took and has forgotten.
func (d *Dispatcher) checkAgain(ctx context.Context, o Order) (time.Time, *Transition) {
	checked, change := d.holder(ctx, o)
	now := d.now()
	var t Transition
	switch change {
	case platform.ChangeNone:
		return checked, nil
	case platform.ChangeHands:
		t = Forgotten(now)
	default:
		t = Retry(Attempt{Began: now, Ended: now, Polled: true}, "HOLDER_UNCHECKED", now.Add(holderAgain))
	}
	return time.Time{}, &t
}

// holder says whether the number changed hands, as far as that stands: a word of
// the carrier of less than HolderStale ago stands while it can't be asked. The
// time is when the carrier said so just now, else zero.
func (d *Dispatcher) holder(ctx context.Context, o Order) (time.Time, platform.HolderChange) {
	if d.o.Carrier == nil || o.BoundBefore.IsZero() {
		return time.Time{}, platform.ChangeNone
	}
	fresh := d.now().Sub(o.HolderChecked).Abs() < d.o.HolderStale
	change, answered := d.holders.check(ctx, o, fresh)
	switch {
	case answered && change == platform.ChangeNone:
		return d.now(), change
	case answered && change == platform.ChangeHands:
		return time.Time{}, change
	case fresh:
		return time.Time{}, platform.ChangeNone
	}
	return time.Time{}, platform.ChangeNoData
}
