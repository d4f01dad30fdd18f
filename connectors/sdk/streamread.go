package sdk

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// read takes frames until the hub ends its side, the stream fails or the server
// stops. It returns at the latest when the call has.
func (st *stream) read() {
	_, err := guard(st.service.log, "StreamBindings", func() (struct{}, error) {
		for {
			req, err := st.wire.Recv()
			if err != nil {
				return struct{}{}, err
			}
			if err := st.admit(req); err != nil {
				return struct{}{}, err
			}
		}
	})
	if errors.Is(err, io.EOF) {
		st.finish()
		return
	}
	if _, ok := status.FromError(err); !ok {
		err = status.Error(codes.Internal, "internal error")
	}
	st.fail(err)
}

// admit opens the questions of a frame and closes those that are withdrawn. A
// server that stops takes no more: io.EOF.
func (st *stream) admit(req *connectorv1.StreamBindingsRequest) error {
	if err := st.service.checkFrame(req); err != nil {
		return err
	}
	now := time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return io.EOF
	}
	if len(st.open)+st.out.count+len(req.GetItems()) > maxOpen {
		return status.Error(codes.ResourceExhausted, "too many questions are open on this stream")
	}
	for i, item := range req.GetItems() {
		if st.open[item.GetItemId()] != nil {
			return invalid("items[%d].item_id: came before", i)
		}
		q := st.question(item, now)
		st.open[q.id] = q
		st.line.push(q)
		st.times.add(q)
	}
	for _, id := range req.GetWithdrawnItemIds() {
		if q := st.open[id]; q != nil {
			st.shut(q, context.Canceled)
		}
	}
	st.setExpiry()
	st.startRunner()
	st.gathered(false)
	return nil
}

func (st *stream) question(item *connectorv1.StreamItem, now time.Time) *question {
	within := min(time.Duration(item.GetAnswerWithinMillis())*time.Millisecond, maxAnswerWithin)
	p := item.GetSubject()
	return &question{
		stream: st, id: item.GetItemId(), ref: p.GetSubjectRef(),
		subject: subjectOf(p), trace: traceParent(p.GetTraceparent()),
		deadline: now.Add(within - margin(within)),
	}
}

// expire answers NOT_IN_TIME to every question whose time is over.
func (st *stream) expire() {
	e := st.service.encoders.Get().(*encoder)
	defer st.service.encoders.Put(e)
	now := time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.expireAt = time.Time{}
	first := st.out.count == 0
	for q := st.times.next(); q != nil && !q.deadline.After(now); q = st.times.next() {
		st.shut(q, context.DeadlineExceeded)
		st.out.add(e.encode(q, Answer{}))
	}
	st.setExpiry()
	st.gathered(first)
}

// setExpiry sets the timer to the question that ends first. A timer that fires
// too early, since that one was answered, is set again then: to set it at every
// answer would cost more. The caller holds the mutex.
func (st *stream) setExpiry() {
	q := st.times.next()
	if q == nil || st.over || !st.expireAt.IsZero() && !q.deadline.Before(st.expireAt) {
		return
	}
	st.expireAt = q.deadline
	st.expiry.Reset(time.Until(q.deadline))
}

// checkFrame finds what is malformed in a frame by itself.
func (s *service) checkFrame(req *connectorv1.StreamBindingsRequest) error {
	limit := int(s.describe.GetMaxBatch())
	if len(req.GetItems()) > limit {
		return invalid("items: want at most %d", limit)
	}
	for i, item := range req.GetItems() {
		if field, want := subjectProblem(item.GetSubject()); field != "" {
			return invalid("items[%d].subject.%s: want %s", i, field, want)
		}
		if item.GetAnswerWithinMillis() < 1 {
			return invalid("items[%d].answer_within_millis: want at least 1", i)
		}
	}
	return nil
}
