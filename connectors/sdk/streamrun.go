package sdk

import "context"

// startRunner starts a goroutine for the questions in line, unless one that was
// started has not begun yet: that one starts the next when it takes a question
// and others are left. So a handler that answers at once gets few goroutines, and
// one that waits gets one for each question, as many as there are places. The
// caller holds the mutex.
func (st *stream) startRunner() {
	if st.line.first == nil || st.coming || st.over {
		return
	}
	st.coming = true
	st.service.tasks.Go(st.run)
}

// run asks the handler one question after another while there are any.
func (st *stream) run() {
	s := st.service
	if !st.enter() {
		return
	}
	defer func() { <-s.places }()
	e := s.encoders.Get().(*encoder)
	defer s.encoders.Put(e)
	q := st.begin()
	defer func() {
		if q != nil { // the handler ended its goroutine
			st.abandon(q, e)
		}
	}()
	for q != nil {
		var a Answer
		if q.Err() == nil {
			a, _ = s.ask(q, q.subject) // the zero Answer of an error is NOT_IN_TIME
		}
		q = st.settle(q, e, a)
	}
}

// enter waits for a place. It reports false when the stream was over first.
func (st *stream) enter() bool {
	select {
	case st.service.places <- struct{}{}:
		return true
	default:
	}
	select {
	case st.service.places <- struct{}{}:
		return true
	case <-st.ctx.Done():
		return false
	}
}

// begin takes the first question of a runner, nil if none is left.
func (st *stream) begin() *question {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.coming = false
	return st.take()
}

// take takes the next question out of the line. The caller holds the mutex.
func (st *stream) take() *question {
	q := st.line.pop()
	st.startRunner()
	return q
}

// settle answers a question, unless it was closed meanwhile, and takes the next
// one. Where all places are taken it returns nil: others may wait for this one,
// and the stream's next runner stands in line behind them.
func (st *stream) settle(q *question, e *encoder, a Answer) *question {
	encoded := e.encode(q, a)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.answer(q, encoded)
	if len(st.service.places) == cap(st.service.places) {
		st.startRunner()
		return nil
	}
	return st.take()
}

// abandon answers NOT_IN_TIME in place of a runner that is lost.
func (st *stream) abandon(q *question, e *encoder) {
	encoded := e.encode(q, Answer{})
	st.mu.Lock()
	defer st.mu.Unlock()
	st.answer(q, encoded)
	st.startRunner()
}

// answer closes a question with its answer, unless it is closed. The caller holds
// the mutex.
func (st *stream) answer(q *question, encoded []byte) {
	if q.closed {
		return
	}
	st.shut(q, context.Canceled)
	first := st.out.count == 0
	st.out.add(encoded)
	st.gathered(first)
}
