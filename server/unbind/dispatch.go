package unbind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// DispatchOptions configures a Dispatcher. The zero value of a duration or a
// count takes the default in brackets.
type DispatchOptions struct {
	Service *Service
	Joined  func() []platform.Platform
	Carrier platform.Carrier // nil: holders are not checked again
	// Paused says whether a platform's orders wait for an operator; nil: none do.
	Paused func(platform.ID) bool

	PerPlatform    int           // attempts at once at one platform [4]
	AttemptTimeout time.Duration // of one call [10 s]
	MaxAge         time.Duration // then an order that was never taken is abandoned [30 d]
	// HolderStale is how long the carrier's last word about the holder stands
	// while it can't be asked again [24 h].
	HolderStale time.Duration
	// Observe is told every attempt that was made: its platform, its outcome in
	// one word and how long it took. May be nil.
	Observe func(p platform.ID, outcome string, took time.Duration)
	Logger  *slog.Logger
}

func (o DispatchOptions) withDefaults() DispatchOptions {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.AttemptTimeout, 10*time.Second)
	set(&o.MaxAge, 30*24*time.Hour)
	set(&o.HolderStale, 24*time.Hour)
	if o.PerPlatform == 0 {
		o.PerPlatform = 4
	}
	if o.Paused == nil {
		o.Paused = func(platform.ID) bool { return false }
	}
	if o.Observe == nil {
		o.Observe = func(platform.ID, string, time.Duration) {}
	}
	return o
}

// Dispatcher sends due orders to their platforms. Each platform has places of
// its own and there is no limit over all, so that those that hang, however many,
// keep only their own orders waiting.
type Dispatcher struct {
	o     DispatchOptions
	queue Queue

	mu    sync.Mutex
	busy  map[platform.ID]int
	tasks sync.WaitGroup
	pause pause
}

// NewDispatcher returns a Dispatcher.
func NewDispatcher(o DispatchOptions) *Dispatcher {
	return &Dispatcher{o: o.withDefaults(), queue: o.Service.o.Queue, busy: make(map[platform.ID]int)}
}

// now is the hub's time, by which orders are due and leases end.
func (d *Dispatcher) now() time.Time { return d.o.Service.o.Now() }

// idleCheck is how often the queue is looked at when nothing wakes the
// dispatcher: a net below the signals, not a poll.
const idleCheck = time.Minute

// Run dispatches until ctx ends, then returns the leases of what is under way
// and waits for it. It returns early, with the error, when the store fails.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.tasks.Wait()
	work, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.o.Service.wake:
		case <-timer.C:
		}
		next, err := d.dispatch(work)
		if ctx.Err() != nil {
			return nil // a claim that was cut off is no failure
		}
		if err != nil {
			return err
		}
		wait := idleCheck
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(d.now()), 0))
		}
		timer.Reset(wait)
	}
}

// dispatch starts all that is due and may start, and says when more is due.
func (d *Dispatcher) dispatch(ctx context.Context) (time.Time, error) {
	leave, ok := d.pause.enter()
	if !ok {
		return time.Time{}, nil
	}
	defer leave()
	joined := make(map[platform.ID]platform.Platform)
	for _, p := range d.o.Joined() {
		if info := p.Info(); !info.Unfit {
			joined[info.ID] = p
		}
	}
	d.mu.Lock()
	busy := make(map[platform.ID]int, len(d.busy))
	for id, n := range d.busy {
		busy[id] = n
	}
	d.mu.Unlock()
	claims, next, err := d.queue.Claim(ctx, ClaimRequest{
		Now: d.now(), Lease: 3 * d.o.AttemptTimeout, Max: max(d.o.PerPlatform*len(joined), 1),
		Free: func(id platform.ID) int {
			if joined[id] == nil || d.o.Paused(id) {
				return 0 // its orders wait until it joins or resumes
			}
			return d.o.PerPlatform - busy[id]
		},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("claim: %w", err)
	}
	for _, c := range claims {
		d.start(ctx, joined[c.Order.Platform], c)
	}
	return next, nil
}

func (d *Dispatcher) start(ctx context.Context, p platform.Platform, c Claim) {
	id := c.Order.Platform
	d.mu.Lock()
	d.busy[id]++
	d.mu.Unlock()
	d.o.Service.watches.Changed(c.Order.ID)
	d.tasks.Go(func() {
		defer d.o.Service.Wake()
		defer func() {
			d.mu.Lock()
			if d.busy[id]--; d.busy[id] == 0 {
				delete(d.busy, id)
			}
			d.mu.Unlock()
		}()
		d.attempt(ctx, p, c)
	})
}

// attempt brings one claim to its Finish, or gives it back when the hub stops:
// an attempt cut off then may or may not have had its effect, which the
// platform sorts out by the order's id.
func (d *Dispatcher) attempt(ctx context.Context, p platform.Platform, c Claim) {
	t, ok := d.try(ctx, p, c.Order)
	if !ok {
		d.queue.Release(context.WithoutCancel(ctx), []Claim{c})
		return
	}
	o, err := d.queue.Finish(context.WithoutCancel(ctx), c, t)
	if err != nil {
		d.o.Logger.Error("attempt not recorded", "order", c.Order.ID, "error", err)
		return
	}
	d.o.Service.watches.Changed(o.ID)
	if t.attempted.IsZero() {
		d.o.Logger.Info("order not sent", "order", o.ID, "platform", o.Platform, "state", o.State.String(), "reason", t.reason)
		return
	}
	took := t.time.Sub(t.attempted)
	d.o.Observe(o.Platform, t.outcome(), took)
	d.o.Logger.Info("attempt", "order", o.ID, "platform", o.Platform, "state", o.State.String(),
		"attempt", o.Attempts, "outcome", t.outcome(), "ms", took.Milliseconds())
}

// try makes one attempt; false means that the hub is stopping.
func (d *Dispatcher) try(ctx context.Context, p platform.Platform, o Order) (Transition, bool) {
	checked, stop := d.checkHolder(ctx, o)
	if stop != nil {
		return *stop, ctx.Err() == nil
	}
	a := Attempt{Began: d.now(), Polled: o.State != Queued && o.State != Appealed, HolderChecked: checked}
	report, err := d.call(ctx, p, o, a.Polled)
	if a.Polled && isCode(err, platform.CodeNotFound, "UNIMPLEMENTED") {
		a.Polled = false // it does not know the order: send it again
		report, err = d.call(ctx, p, o, false)
	}
	a.Ended = d.now()
	if err == nil {
		return Answered(a, report, NextPoll(a.Ended, o.Polls, report.CheckAfter)), true
	}
	if ctx.Err() != nil {
		return Transition{}, false
	}
	return d.failed(a, o, err), true
}

func (d *Dispatcher) call(ctx context.Context, p platform.Platform, o Order, poll bool) (platform.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.AttemptTimeout)
	defer cancel()
	if poll {
		return p.UnbindStatus(ctx, o.ID)
	}
	return p.Unbind(ctx, platform.UnbindOrder{
		OrderID: o.ID, Number: o.Number, AccountRefs: o.AccountRefs, BoundBefore: o.BoundBefore,
		Attempt: o.Attempts + 1, DueTime: o.DueTime,
	})
}

// failed decides what an attempt without a usable answer means.
func (d *Dispatcher) failed(a Attempt, o Order, err error) Transition {
	code := "UNKNOWN"
	var ce *platform.CallError
	if errors.As(err, &ce) {
		code = ce.Code
	}
	switch {
	case a.Polled:
		return Retry(a, code, NextPoll(a.Ended, o.Polls, 0))
	case code == platform.CodeAlreadyExists:
		return Disowned(a)
	case o.State.Rank() == rankOpen && a.Ended.Sub(o.CreateTime) > d.o.MaxAge:
		return Abandon(a, "TOO_OLD")
	case ce != nil && code == platform.CodeResourceExhausted && ce.RetryAfter > 0:
		return Snooze(a, code, a.Ended.Add(ce.RetryAfter))
	}
	return Retry(a, code, NextTry(a.Ended, o.Attempts+1, rand.Float64()))
}

// checkHolder asks the carrier, before every attempt, whether the number is still
// the person's. A transition is returned where the order must not be sent now.
func (d *Dispatcher) checkHolder(ctx context.Context, o Order) (time.Time, *Transition) {
	if d.o.Carrier == nil || o.BoundBefore.IsZero() || o.State != Queued {
		return time.Time{}, nil
	}
	change, _, err := d.o.Carrier.CheckHolder(ctx, o.Number, o.BoundBefore)
	now := d.now()
	switch {
	case err == nil && change == platform.ChangeHands:
		t := HolderChanged(now)
		return time.Time{}, &t
	case err == nil && change == platform.ChangeNone:
		return now, nil
	case now.Sub(o.HolderChecked) < d.o.HolderStale:
		return time.Time{}, nil
	case now.Sub(o.CreateTime) > d.o.MaxAge:
		t := Abandon(Attempt{Ended: now}, "TOO_OLD")
		return time.Time{}, &t
	}
	t := HolderUnknown(now, now.Add(holderAgain))
	return time.Time{}, &t
}

// holderAgain is how long an order waits whose holder could not be checked.
const holderAgain = 10 * time.Minute

func isCode(err error, codes ...string) bool {
	var ce *platform.CallError
	if !errors.As(err, &ce) {
		return false
	}
	for _, c := range codes {
		if ce.Code == c {
			return true
		}
	}
	return false
}

// The delays of NextTry.
const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
)

// NextTry is when to try again after the attempt-th attempt, from 1: 1 s, 2 s,
// 4 s … 15 min, each shortened by up to half at random (rnd in [0,1)), so that
// the orders of a platform that was down don't come back all at once.
func NextTry(now time.Time, attempt int, rnd float64) time.Time {
	d := maxDelay
	if attempt < 11 {
		d = min(firstDelay<<max(attempt-1, 0), maxDelay)
	}
	return now.Add(d - time.Duration(rnd*float64(d)/2))
}

// The delays of NextPoll.
const (
	firstPoll = 2 * time.Second
	maxPoll   = time.Hour
)

// NextPoll is when to ask a platform how an order goes that was asked about
// polls times already: what the platform wished for, or 2 s, 4 s, 8 s … 1 h.
func NextPoll(now time.Time, polls int, wish time.Duration) time.Time {
	if wish > 0 {
		return now.Add(wish)
	}
	if polls > 10 {
		return now.Add(maxPoll)
	}
	return now.Add(min(firstPoll<<polls, maxPoll))
}
