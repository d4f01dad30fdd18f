package unbind

import (
	"context"
	"time"
)

// Too old: an order becomes a dead letter when it has been open for longer than
// MaxAge, is still untaken, and there is proof that trying on is of no use: it came to nothing
// often of late and for a while, or its platform has been away for long while this hub ran. A
// hub that was off for a month, or whose clock was set, has no such proof yet,
// and begins by trying.
const (
	enoughTries = 12
	triedWithin = 14 * 24 * time.Hour
	triedFor    = 2 * time.Hour // less than the history of an order holds that is retried and never put off
	// patience is how long a platform has to be away in this run; hubs that are
	// restarted every night get there, too.
	patience = 6 * time.Hour
	// ageEvery is how often the oldest orders of such a platform are looked at.
	ageEvery = time.Hour
	agePage  = 64
	// askAgain is when an order in review at such a platform is asked about next.
	askAgain = 6 * time.Hour
)

const tooOld = "TOO_OLD"

// untaken reports whether nothing is known of the platform yet, so that the hub
// may still end the order.
func untaken(o Order) bool { return o.State.Rank() == rankOpen }

// tooOld reports whether the order is to be given up; now is by the hub's clock.
// fruitless says that it was just tried again and came to nothing.
func (d *Dispatcher) tooOld(o Order, now time.Time, fruitless bool) bool {
	if !untaken(o) || now.Sub(o.OpenTime) <= d.o.MaxAge {
		return false
	}
	tries, first := 0, now
	for _, s := range o.History {
		if s.State.Rank() == rankOpen && s.Time.After(o.OpenTime) && now.Sub(s.Time).Abs() <= triedWithin {
			if tries++; s.Time.Before(first) {
				first = s.Time
			}
		}
	}
	// A platform that puts orders off by seconds fills the history in less than
	// triedFor. It has given answers all the while.
	tried := max(now.Sub(first), d.flows(o.Platform))
	return fruitless && tries+1 >= enoughTries && tried >= triedFor || d.away(o)
}

func (d *Dispatcher) away(o Order) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lane(o.Platform).away(time.Now())
}

// away reports whether the platform has been out of reach for long: not joined,
// or without an answer to every probe.
func (l *lane) away(now time.Time) bool {
	if !l.gone.IsZero() {
		return now.Sub(l.gone) >= patience
	}
	return l.breaker.failed >= enoughTries && now.Sub(l.breaker.since) >= patience
}

// ages reports whether the oldest orders of the lane are to be looked at; the
// mutex is held.
func (d *Dispatcher) ages(l *lane, now time.Time) bool {
	return !l.aging && l.away(now) && (l.agedAt.IsZero() || now.Sub(l.agedAt) >= ageEvery)
}

// age looks at the orders of a platform that is away, those due longest first:
// what is too old is given up, what is in review is asked about later, so that it
// doesn't hide what is behind it, and the first that still may wait ends it.
func (d *Dispatcher) age(ctx context.Context, claims []Claim) {
	done := 0
	for done < len(claims) && ctx.Err() == nil && d.ageOne(ctx, claims[done]) {
		done++
	}
	d.queue.Release(context.WithoutCancel(ctx), claims[done:])
	d.mu.Lock()
	l := d.lane(claims[0].Order.Platform)
	l.aging, l.agedAt = false, time.Now()
	if done == len(claims) {
		l.agedAt = time.Time{} // there may be more
	}
	d.mu.Unlock()
}

// ageOne reports whether the order does not stand in the way any more.
func (d *Dispatcher) ageOne(ctx context.Context, c Claim) bool {
	now := d.now()
	switch {
	case d.tooOld(c.Order, now, false):
		return d.record(ctx, c, Abandon(Attempt{Ended: now}, tooOld))
	case !untaken(c.Order):
		return d.record(ctx, c, Retry(Attempt{Began: now, Ended: now, Polled: true}, "UNAVAILABLE", now.Add(askAgain)))
	}
	return false
}
