package link

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// settled is a question and what came of it.
type settled struct {
	question *question
	answer   platform.Answer
}

// answered settles questions that a platform answered, each with its checked
// answer. Questions that nobody waits for any more may be among them.
func (q *queue) answered(all []settled, now time.Time) {
	ended := all[:0]
	q.mu.Lock()
	for _, s := range all {
		one := s.question
		if !one.open() {
			continue
		}
		one.leave()
		it := one.item
		if came(s.answer) || !now.Before(it.deadline()) {
			q.latency.add(now.Sub(one.sent))
		}
		q.limiter.note(s.answer.State != platform.Silent || s.answer.Malformed) // which came in time, whatever it says
		if s.answer.State == platform.Silent {
			if other := it.other(one); other != nil && other.open() {
				continue // the other one may do better
			}
			q.failedItem(it, now)
		} else {
			q.breaker.good()
		}
		q.end(it, now)
		ended = append(ended, s)
	}
	ready := q.ready(now)
	q.mu.Unlock()
	if ready {
		q.wake()
	}
	for _, s := range ended {
		s.question.item.finish(s.answer, now)
	}
}

// came reports whether the platform said something itself, if only that it is
// malformed or not in time. A failure that comes at once doesn't tell how long
// answers take.
func came(a platform.Answer) bool { return a.Malformed || !a.AnswerTime.IsZero() }

// other is the item's other question; nil where there is none.
func (it *item) other(one *question) *question {
	if one == &it.first {
		return it.second
	}
	return &it.first
}

// failed settles questions that a platform failed on, all in the same way.
func (q *queue) failed(all []*question, a platform.Answer, now time.Time) {
	list := make([]settled, len(all))
	for i, one := range all {
		list[i] = settled{one, a}
	}
	q.answered(list, now)
}

// lost settles questions whose stream ended under them. Reading is harmless to
// repeat, so each is asked once more: a connector that restarts costs nobody an
// answer. What is lost twice is silent. Of a question and its copy the last one
// that is open counts.
func (q *queue) lost(all []*question, now time.Time) {
	var twice []*question
	q.mu.Lock()
	for i := len(all) - 1; i >= 0; i-- {
		one := all[i]
		it := one.item
		switch {
		case !one.open():
		case it.again:
			twice = append(twice, one)
		default:
			one.leave()
			if other := it.other(one); other != nil && other.open() {
				continue
			}
			it.first.via, it.second, it.again = nil, nil, true
			q.waiting.pushFront(&it.first)
		}
	}
	q.mu.Unlock()
	q.failed(twice, silent, now)
	q.wake()
}

// failedItem notes for the breaker that an item came to nothing. The mutex is
// held.
func (q *queue) failedItem(it *item, now time.Time) {
	if q.breaker.bad(it, now) && q.broke != nil {
		q.broke()
	}
}

// stuckFor reports whether the pump has been held up by one frame for as long as
// the item exists: the platform takes nothing in, which is a failure of its own
// though the item was never sent. The mutex is held.
func (q *queue) stuckFor(it *item) bool {
	return !q.sending.IsZero() && q.sending.Before(it.asked)
}

var silent = platform.Answer{State: platform.Silent}

func finishAll(items []*item, a platform.Answer, now time.Time) {
	for _, it := range items {
		it.finish(a, now)
	}
}
