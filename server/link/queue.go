package link

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// item is one call on its way through a queue.
type item struct {
	call  *platform.Call
	asked time.Time
	place *list.Element // where it waits; nil once it was sent
	batch *batch        // what it was sent in; nil while it waits
	trace string        // W3C traceparent of its span; "" where nothing is traced
	end   func(string)  // ends the span; nil where nothing is traced
	ended atomic.Bool
}

// batch is one LookupBindings in flight.
type batch struct {
	items  []*item
	live   int // items not withdrawn; guarded by the queue's mutex
	ctx    context.Context
	cancel context.CancelFunc
}

// queue gathers the calls of one platform into batches. A call is sent at once
// while there is a free slot; otherwise it waits, and the batch that takes the
// next free slot takes as many as fit. So batches grow with the load alone and
// nothing waits for a timer.
//
// Who ends a call: the platform's answer; or its asker, who keeps a timer for
// all calls of a lookup and withdraws them at the deadline; or, without such an
// asker, the batch, whose deadline is that of its latest item, and the gathering,
// which drops what is past its own deadline. The queue has no timer per call.
type queue struct {
	// send asks a batch and returns one answer for each item. Its context ends
	// at the latest deadline of the items.
	send     func(context.Context, []*item) []platform.Answer
	maxBatch func() int
	span     func(parent string) (child string, end func(string)) // nil: nothing is traced
	slots    int                                                  // batches in flight at least
	limit    int                                                  // items waiting at most
	parent   context.Context

	mu      sync.Mutex
	waiting list.List
	items   map[*platform.Call]*item // waiting or in flight
	flying  int
	closed  bool
	wg      sync.WaitGroup
}

const (
	// smallSlots is how many items may be in flight where batches are small, so
	// that a platform that takes one at a time isn't asked four at a time.
	smallSlots = 64
	// longestWait bounds the deadline of a batch, whatever its calls say.
	longestWait = time.Minute
)

// ask takes a call: sends it, keeps it, or finishes it as silent where the queue
// is full or the deadline past. A call that is finished already, or known, is
// left alone.
func (q *queue) ask(c *platform.Call) {
	if c.Finished() {
		return
	}
	now := time.Now()
	q.mu.Lock()
	if _, known := q.items[c]; known {
		q.mu.Unlock()
		return
	}
	if q.closed || q.waiting.Len() >= q.limit || !c.Deadline.After(now) {
		q.mu.Unlock()
		c.Finish(platform.Answer{State: platform.Silent})
		return
	}
	it := &item{call: c, asked: now}
	if q.span != nil {
		it.trace, it.end = q.span(c.Trace)
	}
	it.place = q.waiting.PushBack(it)
	q.items[c] = it
	b, late := q.take(now)
	if b != nil {
		q.wg.Add(1)
	}
	q.mu.Unlock()
	silence(late)
	if b != nil {
		go q.run(b)
	}
}

// withdraw takes a call back. One that waits leaves the queue; one in flight is
// only not waited for, and the batch is cancelled when nobody waits for it.
func (q *queue) withdraw(c *platform.Call) {
	var cancel context.CancelFunc
	q.mu.Lock()
	if it := q.items[c]; it != nil {
		delete(q.items, c)
		if it.batch == nil {
			q.waiting.Remove(it.place)
		} else if it.batch.live--; it.batch.live == 0 {
			cancel = it.batch.cancel
		}
		defer silence([]*item{it})
	} else {
		defer c.Finish(platform.Answer{State: platform.Silent})
	}
	q.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// run sends a batch and, while calls wait, the next ones in its slot.
func (q *queue) run(b *batch) {
	defer q.wg.Done()
	for b != nil {
		answers := q.send(b.ctx, b.items)
		b.cancel()
		q.mu.Lock()
		for _, it := range b.items {
			if q.items[it.call] == it {
				delete(q.items, it.call)
			}
		}
		q.flying--
		next, late := q.take(time.Now())
		q.mu.Unlock()
		for i, it := range b.items {
			it.finish(answers[i])
		}
		silence(late)
		b = next
	}
}

// take gathers the next batch if there is a slot for one, and returns the calls
// whose deadline passed while they waited. The mutex is held.
func (q *queue) take(now time.Time) (b *batch, late []*item) {
	size := max(q.maxBatch(), 1)
	if q.closed || q.flying >= max(q.slots, smallSlots/size) {
		return nil, nil
	}
	var items []*item
	var last time.Time
	for len(items) < size && q.waiting.Len() > 0 {
		it := q.waiting.Remove(q.waiting.Front()).(*item)
		it.place = nil
		if !it.call.Deadline.After(now) {
			delete(q.items, it.call)
			late = append(late, it)
			continue
		}
		if it.call.Deadline.After(last) {
			last = it.call.Deadline
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, late
	}
	if most := now.Add(longestWait); last.After(most) {
		last = most
	}
	b = &batch{items: items, live: len(items)}
	b.ctx, b.cancel = context.WithDeadline(q.parent, last)
	for _, it := range items {
		it.batch = b
	}
	q.flying++
	return b, late
}

// shut refuses new calls and finishes the waiting ones. Those in flight end with
// the parent context, which the caller cancels; wait waits for them.
func (q *queue) shut() {
	var left []*item
	q.mu.Lock()
	q.closed = true
	for q.waiting.Len() > 0 {
		it := q.waiting.Remove(q.waiting.Front()).(*item)
		delete(q.items, it.call)
		left = append(left, it)
	}
	q.mu.Unlock()
	silence(left)
}

// wait returns when no batch is in flight; only after shut.
func (q *queue) wait() { q.wg.Wait() }

func silence(items []*item) {
	for _, it := range items {
		it.finish(platform.Answer{State: platform.Silent})
	}
}

func (it *item) finish(a platform.Answer) {
	a.Took = time.Since(it.asked)
	it.call.Finish(a)
	if it.end != nil && it.ended.CompareAndSwap(false, true) {
		it.end(outcome(a))
	}
}

// outcome is an answer in one word.
func outcome(a platform.Answer) string {
	switch {
	case a.Malformed:
		return "malformed"
	case a.State.Answered():
		return "answered"
	}
	return "silent"
}
