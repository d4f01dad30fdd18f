package link

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// item is one call on its way through a queue. Everything in it is guarded by
// the queue's mutex, but for what is set before it is in one.
type item struct {
	call   *platform.Call
	asked  time.Time
	first  question
	second *question // the hedge, where one was sent
	again  bool      // its stream ended under it once
	done   bool
	trace  string               // for the platform; "" where nothing is traced
	end    func(outcome string) // ends the span; nil where nothing is traced
}

// question is an item as it goes over the wire. A hedged item has two.
type question struct {
	item *item
	id   uint64 // on the wire, the latest one; 0 until it is sent
	ref  [refSize]byte
	sent time.Time
	via  bearer // nil while it waits

	line       *line // the one it stands in; nil for none
	prev, next *question
}

// open reports whether the question was sent and nothing came of it yet.
func (q *question) open() bool { return q.via != nil && q.line != nil }

// line is a list of questions that any of them can leave at once.
type line struct {
	head, tail *question
	n          int
}

func (l *line) push(q *question) {
	q.line, q.prev, q.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = q
	} else {
		l.head = q
	}
	l.tail = q
	l.n++
}

func (l *line) pushFront(q *question) {
	q.line, q.prev, q.next = l, nil, l.head
	if l.head != nil {
		l.head.prev = q
	} else {
		l.tail = q
	}
	l.head = q
	l.n++
}

// leave takes the question out of the line it stands in, if any.
func (q *question) leave() {
	l := q.line
	if l == nil {
		return
	}
	if q.prev != nil {
		q.prev.next = q.next
	} else {
		l.head = q.next
	}
	if q.next != nil {
		q.next.prev = q.prev
	} else {
		l.tail = q.prev
	}
	l.n--
	q.line, q.prev, q.next = nil, nil, nil
}

// finish gives the answer to the asker. The queue's mutex is not held.
func (it *item) finish(a platform.Answer, now time.Time) {
	a.Took = now.Sub(it.asked)
	if it.end != nil {
		it.end(outcome(a))
	}
	it.call.Finish(a)
}

// outcome is the word for an answer in traces. It doesn't say what was answered:
// where somebody has an account is nobody's to read in a trace.
func outcome(a platform.Answer) string {
	switch {
	case a.Malformed:
		return "malformed"
	case a.State.Answered():
		return "answered"
	}
	return "silent"
}
