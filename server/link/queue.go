package link

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// courier carries questions to a platform. Each of them is settled, whatever
// comes of it, by queue.answered, queue.failed or queue.lost.
type courier interface {
	// room is how many questions fit in now. The queue's mutex is held.
	room() int
	// take notes questions as on their way and sets their bearer; false when the
	// courier came to its end meanwhile. The queue's mutex is held.
	take([]*question) bool
	// carry sends what was taken. It may block while the platform takes nothing
	// in. Of withdrawn nobody waits for the answers any more.
	carry(taken []*question, withdrawn []uint64)
}

// bearer is what an open question is under way with.
type bearer interface {
	// drop is told that nobody waits for a question any more. The queue's mutex
	// is held.
	drop(*question)
}

// queue gathers the calls of one platform and sends them by one rule: when those
// that wait are at least an eighth of those that are open (rounded down, at least
// one), or when the oldest has waited 5 ms. An idle platform is asked at once, and
// frames grow with the load, whichever way they are carried.
//
// Who ends a call: the platform's answer; its asker, who withdraws it; or the
// queue at the call's deadline. There is no timer per call: one serves the
// gathering, one the deadlines, and one the hedges.
type queue struct {
	courier func() courier   // the way to go now; it may block while it connects
	size    func() int       // questions in one frame
	most    int              // calls waiting at most
	now     func() time.Time // the hub's clock, which answers are held against
	ctx     context.Context
	span    func(trace string) (child string, end func(outcome string))
	broke   func() // the breaker opened; the mutex is held

	kick    chan struct{}  // to the pump: something is due
	running sync.WaitGroup // the pump, and whoever ends what is late

	mu        sync.Mutex
	waiting   line
	open      line // in the order they were sent
	withdrawn []uint64
	lastID    uint64
	limiter   limiter
	breaker   breaker
	latency   latency
	hedges    hedges
	counts    platform.Counts
	sending   time.Time // since when the pump has been at its frame; zero while it waits for one
	closed    bool

	gathering *time.Timer // kicks when the oldest has waited long enough
	deadlines *time.Timer
	nextEnd   time.Time // what deadlines is set to; zero: it is not
}

const (
	// patience is how long a call waits for others at most.
	patience = 5 * time.Millisecond
	// share of the open questions that has to gather before they are sent.
	gatherShare = 8
	// longestWait bounds the deadline of a call, whatever it says.
	longestWait = time.Minute
	// mostOpen bounds the questions open at once.
	mostOpen = 4096
)

func (q *queue) start() {
	q.kick = make(chan struct{}, 1)
	q.limiter = newLimiter(mostOpen)
	q.gathering = stopped(q.wake)
	q.deadlines = stopped(q.expire)
	q.hedges.timer = stopped(q.hedge)
	q.running.Go(q.run)
}

// stopped is a timer that runs f once it is set.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// ask takes a call: it waits for the next frame, or is finished as silent at once
// where the queue is full, the deadline past or the breaker open. A call that is
// finished already, or known, is left alone.
func (q *queue) ask(c *platform.Call) {
	if c.Finished() {
		return
	}
	now := time.Now()
	it := &item{call: c, asked: now}
	it.first.item = it
	q.mu.Lock()
	if old, known := c.Ticket.(*item); known && old.call == c && !old.done {
		q.mu.Unlock()
		return
	}
	if q.span != nil { // now that it is certain that the item will be finished, and the span ended
		it.trace, it.end = q.span(c.Trace)
	}
	c.Ticket = it
	if q.closed || q.waiting.n >= q.most || !c.Deadline.After(now) || !q.breaker.admit(it, now) {
		it.done = true
		q.mu.Unlock()
		it.finish(silent, now)
		return
	}
	q.hedges.earn()
	q.counts.Asked++
	q.waiting.push(&it.first)
	q.bound(it, now)
	due := q.due(now)
	if !due && q.waiting.n == 1 {
		q.gathering.Reset(patience)
	}
	q.mu.Unlock()
	if due {
		q.wake()
	}
}

// due reports whether a frame should be sent. The mutex is held.
func (q *queue) due(now time.Time) bool {
	n := q.waiting.n
	if n == 0 || q.limiter.room(q.open.n) <= 0 {
		return false
	}
	return n >= q.open.n/gatherShare || now.Sub(q.waiting.head.item.asked) >= patience
}

// wake tells the pump that something may be due.
func (q *queue) wake() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// run is the pump: it sends frames, one after the other.
func (q *queue) run() {
	for {
		for q.next() {
		}
		select {
		case <-q.kick:
		case <-q.ctx.Done():
			return
		}
	}
}

// next sends one frame and reports whether there may be another.
func (q *queue) next() bool {
	q.mu.Lock()
	if q.closed || !q.ready(time.Now()) {
		q.sending = time.Time{}
		q.mu.Unlock()
		return false
	}
	q.sending = time.Now()
	q.mu.Unlock()
	way := q.courier()
	q.mu.Lock()
	now := time.Now()
	taken, withdrawn, late := q.gather(way, now)
	if len(taken) == 0 {
		q.sending = time.Time{}
	}
	q.mu.Unlock()
	finishAll(late, silent, now)
	if len(taken) == 0 {
		return len(late) > 0
	}
	way.carry(taken, withdrawn)
	return true
}

// ready reports whether the pump has something to send. If not, it sets the timer
// that says when: whatever made room for those that wait, or changed which is the
// oldest, asks it, or wakes the pump, which does. The mutex is held.
func (q *queue) ready(now time.Time) bool {
	if q.due(now) || len(q.hedges.copies) > 0 {
		return true
	}
	if q.waiting.n > 0 && q.limiter.room(q.open.n) > 0 {
		q.gathering.Reset(patience - now.Sub(q.waiting.head.item.asked))
	}
	return false
}

// gather makes the next frame for a courier: hedges first, then what waits. It
// returns the items whose time was over. The mutex is held.
func (q *queue) gather(way courier, now time.Time) (taken []*question, withdrawn []uint64, late []*item) {
	if q.closed {
		return nil, nil, nil
	}
	size := min(max(q.size(), 1), way.room())
	room := min(size, q.limiter.room(q.open.n))
	if size <= 0 {
		return nil, nil, nil
	}
	taken = make([]*question, 0, max(0, min(room, q.waiting.n))+len(q.hedges.copies))
	taken = q.hedges.take(taken, size)
	copies := len(taken)
	for len(taken) < room && q.waiting.n > 0 {
		one := q.waiting.head
		one.leave()
		if !one.item.deadline().After(now) {
			late = append(late, q.end(one.item, now))
			continue
		}
		taken = append(taken, one)
	}
	if len(taken) == 0 {
		return nil, nil, late
	}
	q.send(taken, now)
	if !way.take(taken) {
		q.putBack(taken)
		q.wake()
		return nil, nil, late
	}
	q.counts.Hedged += int64(copies)
	withdrawn, q.withdrawn = q.withdrawn, nil
	q.hedges.watch(q, now)
	return taken, withdrawn, late
}

// send numbers the questions, with a fresh reference for each: two questions about
// one number can't be told to be from one person by them. The mutex is held.
func (q *queue) send(taken []*question, now time.Time) {
	refs := make([]byte, refSize*len(taken))
	_, _ = rand.Read(refs) // never fails
	for i, one := range taken {
		q.lastID++
		one.id, one.sent = q.lastID, now
		copy(one.ref[:], refs[i*refSize:])
		q.open.push(one)
	}
	q.counts.Sent += int64(len(taken))
	q.counts.Frames++
}

// putBack undoes send for a courier that had come to its end. The mutex is held.
func (q *queue) putBack(taken []*question) {
	for i := len(taken) - 1; i >= 0; i-- {
		one := taken[i]
		one.leave()
		one.id, one.via = 0, nil
		if one == &one.item.first {
			q.waiting.pushFront(one)
		} else {
			one.item.second = nil
		}
	}
	q.counts.Sent -= int64(len(taken))
	q.counts.Frames--
}

// withdraw takes a call back. One that waits leaves the queue; one in flight is
// only not waited for, which the courier tells the platform. One that is done is
// being told its answer, or was.
func (q *queue) withdraw(c *platform.Call) {
	now := time.Now()
	q.mu.Lock()
	it, known := c.Ticket.(*item)
	if !known || it.done {
		q.mu.Unlock()
		if !known {
			c.Finish(silent)
		}
		return
	}
	q.timedOut(it, now)
	q.end(it, now)
	ready := q.ready(now)
	q.mu.Unlock()
	if ready {
		q.wake()
	}
	it.finish(silent, now)
}

// end takes an item out of everything: nothing that comes for it later counts.
// The mutex is held; the caller finishes the item after.
func (q *queue) end(it *item, now time.Time) *item {
	it.done = true
	for _, one := range []*question{&it.first, it.second} {
		if one == nil {
			continue
		}
		if one.open() {
			one.via.drop(one)
		}
		one.leave()
	}
	q.breaker.forget(it, now)
	return it
}

// shut refuses new calls and finishes those that wait. Those in flight end with
// their couriers, whose context the caller cancels.
func (q *queue) shut() {
	now := time.Now()
	var left []*item
	q.mu.Lock()
	q.closed = true
	for _, l := range []*line{&q.waiting, &q.open} {
		for l.head != nil {
			left = append(left, q.end(l.head.item, now))
		}
	}
	q.gathering.Stop()
	q.deadlines.Stop()
	q.hedges.timer.Stop()
	q.mu.Unlock()
	finishAll(left, silent, now)
}
