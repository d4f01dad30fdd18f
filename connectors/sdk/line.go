package sdk

import "container/heap"

// line is the questions that wait for the handler, oldest first. One whose time
// is over leaves from the middle, so that a line nobody serves doesn't grow.
type line struct{ first, last *question }

func (l *line) push(q *question) {
	q.waiting, q.prev = true, l.last
	if l.last == nil {
		l.first = q
	} else {
		l.last.next = q
	}
	l.last = q
}

func (l *line) pop() *question {
	q := l.first
	if q != nil {
		l.remove(q)
	}
	return q
}

// remove takes a question out, if it is in.
func (l *line) remove(q *question) {
	if !q.waiting {
		return
	}
	if q.prev == nil {
		l.first = q.next
	} else {
		q.prev.next = q.next
	}
	if q.next == nil {
		l.last = q.prev
	} else {
		q.next.prev = q.prev
	}
	q.waiting, q.prev, q.next = false, nil, nil
}

// deadlines has the question that ends first in front. Closed questions stay
// until they are at the front or make up more than half: most are answered long
// before their time, and taking each out at once would cost more.
type deadlines struct {
	byTime
	closed int
}

func (d *deadlines) add(q *question) { heap.Push(&d.byTime, q) }

// drop takes note that a question was closed.
func (d *deadlines) drop() {
	if d.closed++; d.closed <= 64 || 2*d.closed <= len(d.byTime) {
		return
	}
	open := d.byTime[:0]
	for _, q := range d.byTime {
		if !q.closed {
			open = append(open, q)
		}
	}
	clear(d.byTime[len(open):])
	d.byTime, d.closed = open, 0
	heap.Init(&d.byTime)
}

// next returns the open question that ends first, or nil.
func (d *deadlines) next() *question {
	for len(d.byTime) > 0 {
		if q := d.byTime[0]; !q.closed {
			return q
		}
		heap.Pop(&d.byTime)
		d.closed--
	}
	return nil
}

// byTime implements heap.Interface.
type byTime []*question

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b[i].deadline.Before(b[j].deadline) }
func (b byTime) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *byTime) Push(x any)        { *b = append(*b, x.(*question)) }

// Pop implements heap.Interface.
func (b *byTime) Pop() any {
	n := len(*b) - 1
	q := (*b)[n]
	(*b)[n] = nil
	*b = (*b)[:n]
	return q
}
