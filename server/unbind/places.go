package unbind

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// lane is one platform's way out: its places, its rate, its breaker. Times are
// of the process. The dispatcher's mutex guards it.
type lane struct {
	busy    int // attempts under way
	rate    bucket
	breaker breaker

	joined  bool
	serving bool
	since   time.Time // when orders could begin to flow; zero where they can't
	gone    time.Time // since when it has not been joined, in this run; zero where it is
	aging   bool      // its oldest orders are being looked at
	agedAt  time.Time // when they were last
}

// bucket lets perSecond through, and size at once. The zero bucket is full.
type bucket struct {
	used float64 // tokens that are gone, at the time of last
	last time.Time
}

// granule is what waiting times are rounded up to, so that the platforms' next
// tokens wake the dispatcher together.
const granule = 10 * time.Millisecond

// free is how many tokens there are.
func (b *bucket) free(now time.Time, size, perSecond float64) int {
	if d := now.Sub(b.last); d > 0 {
		b.used = max(0, b.used-d.Seconds()*perSecond)
		b.last = now
	}
	return int(size - b.used + 1e-9)
}

// take uses one token. There may be none left then, or less.
func (b *bucket) take() { b.used++ }

// wait is how long until there is a token; 0 where there is one.
func (b *bucket) wait(now time.Time, size, perSecond float64) time.Duration {
	if b.free(now, size, perSecond) >= 1 {
		return 0
	}
	missing := 1 - (size - b.used)
	d := time.Duration(missing / perSecond * float64(time.Second))
	return (d + granule).Truncate(granule)
}

// Flow is how orders go to one platform, as the dispatcher sees it.
type Flow struct {
	Breaker   string    // "CLOSED", "OPEN" (its orders wait) or "HALF_OPEN" (one order's call decides)
	Until     time.Time // OPEN: when the next order may probe; else zero
	Failed    int       // calls in a row that gave no answer
	UnderWay  int       // attempts
	Places    int       // attempts that may be under way at once
	PerSecond float64   // attempts that may begin in a second, on average
}

// Flow says how orders go to the platform.
func (d *Dispatcher) Flow(id platform.ID) Flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := Flow{Breaker: closed.String(), Places: d.o.PerPlatform, PerSecond: d.o.PerSecond}
	l := d.lanes[id]
	if l == nil {
		return f
	}
	f.Breaker, f.Failed, f.UnderWay = l.breaker.state.String(), l.breaker.failed, l.busy
	if l.breaker.state == open {
		f.Until = l.breaker.until
	}
	return f
}

// look notes which platforms have joined and which of them serve; the mutex is
// held.
func (d *Dispatcher) look(joined map[platform.ID]platform.Platform, now time.Time) {
	for id, p := range joined {
		l := d.lane(id)
		l.seen(p.Info().Health == platform.HealthServing, now)
		if d.o.Paused(id) {
			l.since = time.Time{} // what a pause made late is no sign of too much work
		}
	}
	for id, l := range d.lanes {
		if joined[id] != nil {
			continue
		}
		l.joined, l.serving, l.since = false, false, time.Time{}
		if l.gone.IsZero() {
			l.gone = now
		}
	}
}

// lane finds or makes the platform's lane; the mutex is held.
func (d *Dispatcher) lane(id platform.ID) *lane {
	l := d.lanes[id]
	if l == nil {
		l = new(lane)
		d.lanes[id] = l
	}
	return l
}

// seen notes that the platform has joined. One whose connector answers probes
// again may have an order at once.
func (l *lane) seen(serving bool, now time.Time) {
	if serving && !l.serving {
		l.breaker.hint(now)
	}
	l.joined, l.serving, l.gone = true, serving, time.Time{}
	if l.since.IsZero() && l.breaker.state == closed {
		l.since = now
	}
}

// flows is how long the platform's orders have been able to flow, in this run; 0
// where they can't.
func (d *Dispatcher) flows(id platform.ID) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if since := d.lane(id).since; !since.IsZero() {
		return time.Since(since)
	}
	return 0
}

// room is how many of the platform's orders may be claimed now; the mutex is
// held.
func (d *Dispatcher) room(id platform.ID, now time.Time) int {
	l := d.lane(id)
	if d.ages(l, now) {
		return agePage
	}
	if !l.joined || !l.breaker.admits(now) {
		return 0
	}
	most := min(d.o.PerPlatform-l.busy, l.rate.free(now, float64(d.o.PerPlatform), d.o.PerSecond))
	if l.breaker.state == open {
		return min(most, 1)
	}
	return most
}

// wake is how long until a lane may send that can't now for lack of a token or
// because its breaker rests; the mutex is held. A lane that could send asks for
// nothing: the queue says when its next order is due.
func (d *Dispatcher) wake(now time.Time, wait time.Duration) time.Duration {
	for _, l := range d.lanes {
		if !l.joined || l.busy >= d.o.PerPlatform {
			continue // an attempt that ends wakes
		}
		w := l.rate.wait(now, float64(d.o.PerPlatform), d.o.PerSecond)
		if l.breaker.state == open {
			w = max(w, l.breaker.until.Sub(now))
		}
		if w > 0 && l.breaker.state != halfOpen {
			wait = min(wait, w)
		}
	}
	return wait
}

// begin notes that an attempt at the order begins.
func (d *Dispatcher) begin(c Claim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(c.Order.Platform)
	l.busy++
	l.rate.take()
	l.breaker.begin(c.Order.ID)
}

// end notes that it is over. A probe that was not judged tells nothing.
func (d *Dispatcher) end(o Order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(o.Platform)
	l.busy--
	l.breaker.forget(o.ID, time.Now())
}
