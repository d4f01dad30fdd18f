package sdk

import (
	"context"
	"sync"
	"time"
)

// question is one item of a stream from its frame to its answer. It is also the
// context that the handler gets: what makes a context dear, a channel and a
// timer, is made only when asked for, and the timer is the stream's.
type question struct {
	stream   *stream
	id       uint64
	ref      []byte
	subject  Subject
	trace    string
	deadline time.Time

	// Guarded by the mutex of the stream.
	closed     bool      // answered, withdrawn, or the stream is over
	waiting    bool      // in the stream's line
	prev, next *question // neighbours in that line

	mu    sync.Mutex // taken after the stream's, never before
	err   error      // why the context has ended
	done  chan struct{}
	after map[*func()]struct{} // what AfterFunc was given
}

// Deadline implements context.Context.
func (q *question) Deadline() (time.Time, bool) { return q.deadline, true }

// Done implements context.Context.
func (q *question) Done() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done == nil {
		q.done = make(chan struct{})
		if q.err != nil {
			close(q.done)
		}
	}
	return q.done
}

// Err implements context.Context.
func (q *question) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Value implements context.Context.
func (q *question) Value(key any) any {
	if _, ok := key.(traceKey); ok {
		return q.trace
	}
	return q.stream.ctx.Value(key)
}

// String keeps the number out of a context that is printed.
func (q *question) String() string { return "sdk.question" }

// AfterFunc lets the context package hang children on a question without a
// goroutine that waits for Done.
func (q *question) AfterFunc(f func()) (stop func() bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		go f()
		return func() bool { return false }
	}
	if q.after == nil {
		q.after = map[*func()]struct{}{}
	}
	q.after[&f] = struct{}{}
	return func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		_, stopped := q.after[&f]
		delete(q.after, &f)
		return stopped
	}
}

// end ends the context; the first reason counts. It never blocks.
func (q *question) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return
	}
	q.err = err
	if q.done != nil {
		close(q.done)
	}
	for f := range q.after {
		go (*f)()
	}
	q.after = nil
}

// traceKey finds the trace context of a question.
type traceKey struct{}

// TraceParent returns the W3C trace context of the question that the context of
// a Lookup belongs to, 55 characters, or "" where the hub sent none.
func TraceParent(ctx context.Context) string {
	s, _ := ctx.Value(traceKey{}).(string)
	return s
}

// traceParent lets only what looks like a trace context through, which are
// hexadecimal digits and three dashes: it ends up in logs.
func traceParent(s string) string {
	if len(s) != 55 {
		return ""
	}
	for i, c := range []byte(s) {
		dash := i == 2 || i == 35 || i == 52
		if (c == '-') != dash || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return s
}
