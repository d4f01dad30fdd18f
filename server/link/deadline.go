package link

import "time"

// deadline is when the item ends at the latest.
func (it *item) deadline() time.Time {
	if most := it.asked.Add(longestWait); it.call.Deadline.After(most) {
		return most
	}
	return it.call.Deadline
}

// bound sets the timer for the item's deadline. The mutex is held.
func (q *queue) bound(it *item, now time.Time) {
	if d := it.deadline(); q.nextEnd.IsZero() || d.Before(q.nextEnd) {
		q.nextEnd = d
		q.deadlines.Reset(d.Sub(now))
	}
}

// expire ends what is past its deadline; its timer is set to the earliest one
// that is left.
func (q *queue) expire() {
	now := time.Now()
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.running.Add(1) // close waits until those that are late were told
	defer q.running.Done()
	var late []*item
	var next time.Time
	for _, l := range []*line{&q.waiting, &q.open} {
		for one := l.head; one != nil; {
			it, following := one.item, one.next
			switch d := it.deadline(); {
			case !d.After(now):
				if following != nil && following.item == it {
					following = following.next
				}
				q.timedOut(it, now)
				late = append(late, q.end(it, now))
			case next.IsZero() || d.Before(next):
				next = d
			}
			one = following
		}
	}
	if q.nextEnd = next; !next.IsZero() {
		q.deadlines.Reset(next.Sub(now))
	}
	ready := q.ready(now)
	q.mu.Unlock()
	if ready {
		q.wake()
	}
	finishAll(late, silent, now)
}

// timedOut notes an item that ends without an answer: if its time is over the
// platform failed, unless it was never sent. A probe waits for nobody but the
// platform, and so does what stands behind a frame that is not taken in: they
// count in any case. The mutex is held.
func (q *queue) timedOut(it *item, now time.Time) {
	if now.Before(it.deadline()) {
		return
	}
	for _, one := range []*question{&it.first, it.second} {
		if one != nil && one.open() {
			q.limiter.note(false)
			q.latency.add(now.Sub(one.sent))
		}
	}
	if it.first.id != 0 || q.breaker.probing == it || q.stuckFor(it) {
		q.failedItem(it, now)
	}
}
