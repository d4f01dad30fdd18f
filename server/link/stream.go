package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// stream is the courier for connectors that offer StreamBindings: one
// conversation in which questions and answers cross.
type stream struct {
	q      *queue
	conn   grpc.BidiStreamingClient[connectorv1.StreamBindingsRequest, connectorv1.StreamBindingsResponse]
	cancel context.CancelFunc
	began  time.Time
	owed   *owed

	// Guarded by the queue's mutex.
	open   map[uint64]*question
	over   bool
	worked bool // it brought an answer
}

// openWithin bounds the wait for a stream: for a connection, and for a connector
// that allows no more calls at once than it has.
const openWithin = 5 * time.Second

// openStream begins a stream. Its receiver runs until the stream ends, which done
// is told, and is counted in all.
func openStream(q *queue, client connectorv1.ConnectorServiceClient, all *sync.WaitGroup, done func(*stream, error)) (*stream, error) {
	ctx, cancel := context.WithCancel(q.ctx)
	due := new(owed)
	due.Store(mostStray)
	late := time.AfterFunc(openWithin, cancel)
	conn, err := client.StreamBindings(ctx, boundedStream(due)...)
	late.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	q.mu.Lock()
	q.withdrawn = nil // which another stream knew
	q.mu.Unlock()
	s := &stream{q: q, conn: conn, cancel: cancel, began: time.Now(), owed: due, open: make(map[uint64]*question)}
	all.Go(func() {
		err := s.receive()
		cancel()
		done(s, err) // before its questions are asked anew
		s.end(err)
	})
	return s, nil
}

func (s *stream) isOver() bool {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.over
}

func (s *stream) room() int { return mostOpen }

func (s *stream) take(taken []*question) bool {
	if s.over {
		return false
	}
	s.owed.Add(int64(len(taken)))
	for _, one := range taken {
		one.via = s
		s.open[one.id] = one
	}
	return true
}

// drop has the platform told with the next frame.
func (s *stream) drop(one *question) {
	delete(s.open, one.id)
	if !s.over && len(s.q.withdrawn) < mostOpen {
		s.q.withdrawn = append(s.q.withdrawn, one.id)
	}
}

// carry sends a frame. What goes wrong the receiver hears of.
func (s *stream) carry(taken []*question, withdrawn []uint64) {
	now := time.Now()
	items := make([]connectorv1.StreamItem, len(taken))
	req := &connectorv1.StreamBindingsRequest{Items: make([]*connectorv1.StreamItem, len(taken)), WithdrawnItemIds: withdrawn}
	for i, one := range taken {
		it := &items[i]
		it.ItemId, it.Subject = one.id, subject(one)
		it.AnswerWithinMillis = uint32(max(answerWithin(one.item.deadline().Sub(now)).Milliseconds(), 1))
		req.Items[i] = it
	}
	_ = s.conn.Send(req)
}

// receive settles answers until the stream ends, and says why it did.
func (s *stream) receive() error {
	for {
		resp, err := s.conn.Recv()
		if err != nil {
			return err
		}
		s.settle(resp.GetAnswers())
	}
}

// settle checks the answers of one frame. Those to questions that nobody waits
// for any more are dropped.
func (s *stream) settle(answers []*connectorv1.StreamAnswer) {
	now, hub := time.Now(), s.q.now()
	list := make([]settled, 0, len(answers))
	s.q.mu.Lock()
	s.worked = true
	for _, a := range answers {
		if one := s.open[a.GetItemId()]; one != nil {
			delete(s.open, one.id)
			list = append(list, settled{question: one})
		} else {
			list = append(list, settled{})
		}
	}
	s.q.mu.Unlock()
	kept := list[:0]
	for i, a := range answers {
		one := list[i].question
		if one == nil {
			continue
		}
		got, ok := checkAnswer(a.GetAnswer(), one.ref[:], !one.item.call.HolderSince.IsZero(), hub)
		if !ok {
			got = malformed
		}
		kept = append(kept, settled{one, got})
	}
	s.q.answered(kept, now)
}

// end settles what the stream leaves open. A platform that broke the contract is
// not asked again about it.
func (s *stream) end(err error) {
	s.q.mu.Lock()
	s.over = true
	left := make([]*question, 0, len(s.open))
	for one := s.q.open.head; one != nil; one = one.next { // in the order they were sent
		if s.open[one.id] == one {
			left = append(left, one)
		}
	}
	clear(s.open)
	s.q.mu.Unlock()
	now := time.Now()
	if breach(err) {
		s.q.failed(left, malformed, now)
		return
	}
	s.q.lost(left, now)
}

// sound reports whether a stream that ended was worth opening: it brought an
// answer, or stood for a while. The queue's mutex is not held.
func (s *stream) sound() bool {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.worked || time.Since(s.began) > time.Minute
}

// malformed is what an answer outside the contract counts as.
var malformed = platform.Answer{State: platform.Silent, Malformed: true}

// notOffered reports whether err says that the connector has no stream.
func notOffered(err error) bool {
	return !errors.Is(err, io.EOF) && callError(err).Code == "UNIMPLEMENTED"
}
