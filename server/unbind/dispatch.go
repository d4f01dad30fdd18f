package unbind

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// DispatchOptions configures a Dispatcher. The zero value of a duration, a count
// or a rate takes the default in brackets.
type DispatchOptions struct {
	Service *Service
	Joined  func() []platform.Platform
	Carrier platform.Carrier // nil: holders are not checked again
	// Paused says whether a platform's orders wait for an operator; nil: none do.
	Paused func(platform.ID) bool

	PerPlatform    int           // attempts at once at one platform [4]
	PerSecond      float64       // attempts that may begin at one platform in a second, on average [50]
	AttemptTimeout time.Duration // of one call [10 s]
	Lease          time.Duration // of an order that is being sent; extended while that lasts [30 s]
	MaxAge         time.Duration // then an order that was never taken is abandoned [30 d]
	// HolderStale is how long the carrier's last word about the holder stands
	// while it can't be asked again [24 h].
	HolderStale time.Duration
	// Observe is told every attempt that was made: its platform, its outcome in
	// one word and how long it took. May be nil.
	Observe func(p platform.ID, outcome string, took time.Duration)
	Random  func() float64 // in [0,1), spreads retries; nil: math/rand
	Logger  *slog.Logger
}

// DefaultPerSecond is PerSecond where none is given: with 400 platforms more
// than a hub can record, and less than any platform that takes part should mind.
const DefaultPerSecond = 50

func (o DispatchOptions) withDefaults() DispatchOptions {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.AttemptTimeout, 10*time.Second)
	set(&o.Lease, 30*time.Second)
	set(&o.MaxAge, 30*24*time.Hour)
	set(&o.HolderStale, 24*time.Hour)
	if o.PerPlatform == 0 {
		o.PerPlatform = 4
	}
	if o.Paused == nil {
		o.Paused = func(platform.ID) bool { return false }
	}
	if o.PerSecond == 0 {
		o.PerSecond = DefaultPerSecond
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Observe == nil {
		o.Observe = func(platform.ID, string, time.Duration) {}
	}
	return o
}

// Dispatcher sends due orders to their platforms. Each platform has places, a
// rate and a breaker of its own and there is no limit over all, so that those
// that hang, however many, keep only their own orders waiting.
type Dispatcher struct {
	o       DispatchOptions
	queue   Queue
	holders holders

	mu    sync.Mutex
	lanes map[platform.ID]*lane
	rests time.Time // nothing is claimed before: the store took no outcome
	tasks sync.WaitGroup
	pause pause
}

// NewDispatcher returns a Dispatcher.
func NewDispatcher(o DispatchOptions) *Dispatcher {
	return &Dispatcher{
		o: o.withDefaults(), queue: o.Service.o.Queue, lanes: make(map[platform.ID]*lane), holders: holders{carrier: o.Carrier},
	}
}

// now is the hub's time, by which orders are due and leases end. What lasts only
// while the process does, such as a platform's rate, goes by time.Now, which no
// change of the machine's clock moves.
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
		wait, err := d.dispatch(work)
		if ctx.Err() != nil {
			return nil // a claim that was cut off is no failure
		}
		if err != nil {
			return err
		}
		timer.Reset(wait)
	}
}

// dispatch starts all that is due and may start, and says how long until there
// may be more to start.
func (d *Dispatcher) dispatch(ctx context.Context) (time.Duration, error) {
	leave, ok := d.pause.enter()
	if !ok {
		return idleCheck, nil
	}
	defer leave()
	now := time.Now()
	joined, rests := d.survey(now)
	if rests > 0 {
		return rests, nil
	}
	clock := d.now()
	claims, next, err := d.queue.Claim(ctx, ClaimRequest{
		Now: clock, Lease: d.o.Lease, Max: max(d.o.PerPlatform, agePage) * (len(joined) + 1),
		Free: func(id platform.ID) int {
			if d.o.Paused(id) {
				return 0
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.room(id, now)
		},
	})
	if err != nil {
		return 0, fmt.Errorf("claim: %w", err)
	}
	d.startAll(ctx, joined, claims, now)
	wait := idleCheck
	if !next.IsZero() {
		wait = min(wait, max(next.Sub(clock), 0))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Of the same moment as the room was: what came free meanwhile was not claimed.
	return d.wake(now, wait), nil
}

// survey returns the platforms that may be sent orders, and how long the
// dispatcher still rests.
func (d *Dispatcher) survey(now time.Time) (map[platform.ID]platform.Platform, time.Duration) {
	joined := make(map[platform.ID]platform.Platform)
	for _, p := range d.o.Joined() {
		if info := p.Info(); !info.Unfit {
			joined[info.ID] = p
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look(joined, now)
	return joined, d.rests.Sub(now)
}

// startAll starts an attempt at each claim, and a look at those of platforms that
// are away.
func (d *Dispatcher) startAll(ctx context.Context, joined map[platform.ID]platform.Platform, claims []Claim, now time.Time) {
	aged := make(map[platform.ID][]Claim)
	for _, c := range claims {
		id := c.Order.Platform
		if d.isAging(id, now) {
			aged[id] = append(aged[id], c)
			continue
		}
		d.start(ctx, joined[id], c)
	}
	for id, some := range aged {
		d.mu.Lock()
		d.lane(id).aging = true
		d.mu.Unlock()
		d.task(id, func() { d.age(ctx, some) })
	}
}

func (d *Dispatcher) isAging(id platform.ID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ages(d.lane(id), now)
}

func (d *Dispatcher) start(ctx context.Context, p platform.Platform, c Claim) {
	d.begin(c)
	d.o.Service.watches.Changed(c.Order.ID)
	d.task(c.Order.Platform, func() {
		defer d.end(c.Order)
		d.attempt(ctx, p, c)
	})
}

// task runs beside the loop and wakes it at its end. After a panic the hub goes
// on: the leases run out and the orders are sent again.
func (d *Dispatcher) task(id platform.ID, run func()) {
	d.tasks.Go(func() {
		defer d.o.Service.Wake()
		defer func() {
			if v := recover(); v != nil {
				d.o.Logger.Error("panic in the dispatcher", "platform", id, "kind", fmt.Sprintf("%T", v), "stack", fault.Where(v))
			}
		}()
		run()
	})
}
