package unbind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// attempt brings one claim to its Finish, or gives it back when the hub stops:
// an attempt cut off then may or may not have had its effect, which the platform
// sorts out by the order's id. Where the lease is lost somebody else has the
// order, and nothing is written.
func (d *Dispatcher) attempt(ctx context.Context, p platform.Platform, c Claim) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	stop := d.hold(ctx, c, cut)
	t, ok := d.guarded(ctx, p, c.Order)
	c, held := stop()
	switch {
	case !held:
		d.o.Logger.Error("lease lost", "order", c.Order.ID, "platform", c.Order.Platform)
	case !ok:
		d.queue.Release(context.WithoutCancel(ctx), []Claim{c})
	default:
		d.record(ctx, c, t)
	}
}

// hold extends the claim's lease until stop is called, which returns the claim as
// it is then and whether it still is the order's. cut ends the attempt when it
// isn't.
func (d *Dispatcher) hold(ctx context.Context, c Claim, cut func()) (stop func() (Claim, bool)) {
	ctx = context.WithoutCancel(ctx) // a stop waits for the attempt, which holds its lease
	held, over, ended := true, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d.o.Lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			extended, err := d.queue.Extend(ctx, c, d.now().Add(d.o.Lease))
			if err != nil {
				held = false
				cut()
				return
			}
			c = extended
		}
	}()
	return func() (Claim, bool) {
		close(over)
		<-ended
		return c, held
	}
}

// storeRest is how long nothing is sent after an outcome could not be recorded.
const storeRest = 5 * time.Second

// record writes the outcome and reports whether that worked. An outcome that
// can't be written is lost, and the order is sent again once its lease has run
// out: until the store is well again little is to be sent.
func (d *Dispatcher) record(ctx context.Context, c Claim, t Transition) bool {
	o, err := d.queue.Finish(context.WithoutCancel(ctx), c, t)
	if err != nil {
		d.o.Logger.Error("attempt not recorded", "order", c.Order.ID, "error", err)
		if !errors.Is(err, fault.LeaseLost) {
			d.mu.Lock()
			d.rests = time.Now().Add(storeRest)
			d.mu.Unlock()
		}
		return false
	}
	d.o.Service.watches.Changed(o.ID)
	if t.attempted.IsZero() {
		d.o.Logger.Info("order not sent", "order", o.ID, "platform", o.Platform, "state", o.State.String(), "reason", t.reason)
		return true
	}
	took := t.time.Sub(t.attempted)
	d.o.Observe(o.Platform, t.outcome(), took)
	d.o.Logger.Info("attempt", "order", o.ID, "platform", o.Platform, "state", o.State.String(),
		"attempt", o.Attempts, "outcome", t.outcome(), "ms", took.Milliseconds())
	return true
}

// guarded is try, where a panic counts as an attempt that failed: the order waits
// its turn and, if it always panics, becomes a dead letter in the end.
func (d *Dispatcher) guarded(ctx context.Context, p platform.Platform, o Order) (t Transition, ok bool) {
	began := d.now()
	defer func() {
		if v := recover(); v != nil {
			d.o.Logger.Error("panic in an attempt", "order", o.ID, "platform", o.Platform, "kind", fmt.Sprintf("%T", v), "stack", fault.Where(v))
			t, ok = d.failed(Attempt{Began: began, Ended: d.now(), Polled: !untaken(o), Appeal: o.Appeals}, o, &platform.CallError{Code: "PANIC"}), true
		}
	}()
	return d.try(ctx, p, o)
}

// try makes one attempt; false means that it was cut off.
func (d *Dispatcher) try(ctx context.Context, p platform.Platform, o Order) (Transition, bool) {
	checked, stop := d.checkHolder(ctx, o)
	if stop != nil {
		return *stop, ctx.Err() == nil
	}
	a := Attempt{Began: d.now(), Polled: !untaken(o), Appeal: o.Appeals, HolderChecked: checked}
	report, err := d.call(ctx, p, o, a.Polled)
	if a.Polled && isCode(err, platform.CodeNotFound, "UNIMPLEMENTED") {
		a.Polled = false // it does not know the order: send it again
		if a.HolderChecked, stop = d.checkAgain(ctx, o); stop != nil {
			return *stop, ctx.Err() == nil
		}
		report, err = d.call(ctx, p, o, false)
	}
	a.Ended = d.now()
	if err != nil && ctx.Err() != nil {
		return Transition{}, false
	}
	d.judge(o, err)
	if err != nil {
		return d.failed(a, o, err), true
	}
	return Answered(a, report, d.nextPoll(a, o, report.CheckAfter)), true
}

func (d *Dispatcher) call(ctx context.Context, p platform.Platform, o Order, poll bool) (platform.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.AttemptTimeout)
	defer cancel()
	if poll {
		return p.UnbindStatus(ctx, o.ID)
	}
	return p.Unbind(ctx, platform.UnbindOrder{
		OrderID: o.ID, Number: o.Number, AccountRefs: o.AccountRefs, BoundBefore: o.BoundBefore,
		Attempt: o.Attempts + 1, Appeal: o.Appeals, DueTime: o.DueTime,
	})
}

// judge tells the platform's breaker how a call went. An answer of the platform's
// own, also one that is of no use, says that it is there.
func (d *Dispatcher) judge(o Order, err error) {
	code, wait := codeOf(err)
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(o.Platform)
	switch code {
	case platform.CodeUnavailable:
	case platform.CodeDeadlineExceeded, platform.CodeMalformed, platform.CodeResourceExhausted:
		wait = 0 // it is about this order
	default:
		if l.breaker.state != closed {
			d.o.Logger.Info("platform takes orders again", "platform", o.Platform)
			l.since = now
		}
		l.breaker.good()
		return
	}
	if l.breaker.bad(o.ID, now, wait) {
		l.since = time.Time{}
		d.o.Logger.Warn("platform takes no orders", "platform", o.Platform, "outcome", code, "until", l.breaker.until)
	}
}

// failed decides what an attempt without a usable answer means.
func (d *Dispatcher) failed(a Attempt, o Order, err error) Transition {
	code, wait := codeOf(err)
	switch {
	case a.Polled:
		return Retry(a, code, d.nextPoll(a, o, wait))
	case code == platform.CodeAlreadyExists:
		return Disowned(a)
	case d.tooOld(o, a.Ended, true):
		return Abandon(a, tooOld)
	case wait != 0 && (code == platform.CodeResourceExhausted || code == platform.CodeUnavailable):
		return Snooze(a, code, a.Ended.Add(wait))
	}
	return Retry(a, code, NextTry(a.Ended, o.Attempts+1, d.o.Random()))
}

// nextPoll is NextPoll, later where the platform's orders are late. What was late
// before they could flow, in this run, does not count.
func (d *Dispatcher) nextPoll(a Attempt, o Order, wish time.Duration) time.Time {
	lag := min(a.Began.Sub(o.NextTime), d.flows(o.Platform))
	return stretch(NextPoll(a.Ended, o.Polls, wish), a.Ended, lag)
}

// codeOf is the code of a call, "OK" for none, and the wait that the platform
// asked for, in bounds; 0 where it asked for none.
func codeOf(err error) (string, time.Duration) {
	var ce *platform.CallError
	switch {
	case err == nil:
		return "OK", 0
	case !errors.As(err, &ce):
		return "UNKNOWN", 0
	case ce.RetryAfter == 0:
		return ce.Code, 0
	}
	return ce.Code, keepWait(ce.RetryAfter)
}

func isCode(err error, codes ...string) bool {
	code, _ := codeOf(err)
	for _, c := range codes {
		if code == c {
			return true
		}
	}
	return false
}
