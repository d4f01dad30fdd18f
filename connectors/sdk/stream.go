package sdk

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Limits of a stream.
const (
	// maxOpen is how many questions may be open or have an answer that was not
	// sent, so that a hub which does not read its answers costs little.
	maxOpen = 1 << 14
	// gatherFor is how long an answer may wait for others to go with it.
	gatherFor = 5 * time.Millisecond
	// gatherShare: answers go when they are one to this many open questions,
	// rounded down, so that up to 15 open ones make none wait.
	gatherShare = 8
)

// streamWire is the wire of a StreamBindings call.
type streamWire = grpc.BidiStreamingServer[connectorv1.StreamBindingsRequest, connectorv1.StreamBindingsResponse]

// stream is one StreamBindings call. One goroutine reads frames, the call's own
// one sends answers, and runners call the handler.
type stream struct {
	service *service
	wire    streamWire
	ctx     context.Context // ends with the call
	wake    chan struct{}   // holds one when send has something to do

	mu       sync.Mutex
	open     map[uint64]*question
	line     line
	times    deadlines
	out      outbox
	coming   bool  // a runner was started that has no question yet
	closing  bool  // nothing more is read; over when nothing is open
	over     bool  // nothing is answered any more
	err      error // what the stream ends with, once set
	expiry   *time.Timer
	expireAt time.Time // when expiry fires; zero when it is not set
	gather   *time.Timer
}

// StreamBindings implements the contract: every question goes to the handler as
// soon as a place is free, and its answer leaves with those that are ready at
// about the same time.
func (s *service) StreamBindings(wire streamWire) error {
	if !s.describe.GetStreamBindings() {
		return status.Error(codes.Unimplemented, "only LookupBindings is offered")
	}
	ctx, cancel := context.WithCancel(wire.Context())
	defer cancel()
	st := newStream(ctx, s, wire)
	defer st.close()
	s.tasks.Go(st.read)
	return st.send()
}

func newStream(ctx context.Context, s *service, wire streamWire) *stream {
	st := &stream{service: s, wire: wire, ctx: ctx, wake: make(chan struct{}, 1), open: map[uint64]*question{}}
	st.expiry = time.AfterFunc(time.Hour, st.expire)
	st.gather = time.AfterFunc(time.Hour, st.signal)
	st.expiry.Stop()
	st.gather.Stop()
	return st
}

// send sends answers until the stream is over. A hub that does not read makes it
// wait in Send; what is answered meanwhile counts toward maxOpen.
func (st *stream) send() error {
	var frames []frame
	var cut <-chan time.Time
	draining := st.service.draining
	for {
		select {
		case <-st.wake:
		case <-draining:
			draining = nil
			wait := st.service.drain
			timer := time.NewTimer(wait - margin(wait)) // the end has to travel
			defer timer.Stop()
			cut = timer.C
			st.finish()
		case <-cut:
			return st.sendFrames(st.empty(frames))
		case <-st.ctx.Done():
			return status.FromContextError(st.ctx.Err()).Err()
		}
		frames = st.empty(frames)
		if err := st.sendFrames(frames); err != nil {
			return err
		}
		if over, err := st.sent(frames); over {
			return err
		}
	}
}

func (st *stream) sendFrames(frames []frame) error {
	for _, f := range frames {
		// The answers are encoded already; a message hands unknown fields on as
		// they are.
		var m connectorv1.StreamBindingsResponse
		m.ProtoReflect().SetUnknown(f.bytes)
		if err := st.wire.Send(&m); err != nil {
			return err
		}
	}
	return nil
}

// empty takes what is in the outbox.
func (st *stream) empty(into []frame) []frame {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gather.Stop()
	select {
	case <-st.wake: // it was about what is taken now; the caller sees the end by itself
	default:
	}
	return st.out.take(into)
}

// sent takes buffers back and tells whether the stream is over, and with what.
func (st *stream) sent(frames []frame) (over bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.out.reuse(frames)
	return st.err != nil || st.closing && len(st.open) == 0 && st.out.count == 0, st.err
}

// gathered wakes send when the answers that wait are enough or nothing is left
// to wait for, else sees to it that none waits too long. first says that no
// answer waited before. The caller holds the mutex.
func (st *stream) gathered(first bool) {
	switch {
	case st.out.count > 0 && st.out.count >= len(st.open)/gatherShare, st.closing && len(st.open) == 0:
		st.signal()
	case first && st.out.count > 0:
		st.gather.Reset(gatherFor)
	}
}

// signal wakes send.
func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// fail ends the stream with an error; the first one counts.
func (st *stream) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = err
	}
	st.closing = true
	st.signal()
}

// finish ends the stream with OK once what is open is answered.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closing = true
	st.signal()
}

// close lets go of everything that is still open.
func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over, st.closing = true, true
	st.expiry.Stop()
	st.gather.Stop()
	for _, q := range st.open {
		st.shut(q, context.Canceled)
	}
}

// shut closes a question and ends its context; it gets no answer after that. The
// caller holds the mutex.
func (st *stream) shut(q *question, why error) {
	q.closed = true
	delete(st.open, q.id)
	st.line.remove(q)
	st.times.drop()
	q.end(why)
}

// margin is how much of a time limit is kept back, as what is done by then has to
// travel.
func margin(limit time.Duration) time.Duration { return min(limit/10, 50*time.Millisecond) }
