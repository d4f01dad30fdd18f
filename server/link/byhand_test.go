package link_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// byHand is a stream whose answers a test sends, one at a time.
type byHand struct {
	frames
	mu   sync.Mutex
	wire streamServer
	over chan struct{}
}

func (b *byHand) serve(s streamServer) error {
	b.mu.Lock()
	b.wire, b.over = s, make(chan struct{})
	over := b.over
	b.mu.Unlock()
	go func() {
		for {
			if _, err := b.next(s); err != nil {
				return
			}
		}
	}()
	select {
	case <-over:
	case <-s.Context().Done():
	}
	return nil
}

// reply answers the question that came as number i.
func (b *byHand) reply(i int) {
	_, items, _ := b.seen()
	b.mu.Lock()
	wire := b.wire
	b.mu.Unlock()
	_ = send(wire, reply(items[i]))
	synctest.Wait()
}

// end ends the stream that is open.
func (b *byHand) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.over)
}

func (b *byHand) came() int {
	synctest.Wait()
	_, items, _ := b.seen()
	return len(items)
}

// What waits for room goes when a question that is open is taken back.
func TestWithdrawMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newWorld(t), new(byHand)
		w.streams(b.serve)
		r, p := w.shop()
		limit := load(t, r).Limit
		qs := fill(t, p, limit, time.Minute)
		ask(t, p, time.Minute)
		time.Sleep(time.Second)
		if n := b.came(); n != limit {
			t.Fatalf("%d questions are open, where %d may be", n, limit)
		}
		p.Withdraw(&qs[3].Call)
		if n := b.came(); n != limit+1 {
			t.Errorf("there is room, and the question waits")
		}
	})
}

// A question that is too young to go when there is room goes when it is 5 ms old,
// though nothing else happens until then.
func TestRoomForTheYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := newWorld(t), new(byHand)
		w.streams(b.serve)
		r, p := w.shop()
		limit := load(t, r).Limit
		fill(t, p, limit, time.Minute)
		ask(t, p, time.Minute)
		time.Sleep(4 * time.Millisecond)
		ask(t, p, time.Minute)
		time.Sleep(500 * time.Microsecond)
		b.reply(0)
		time.Sleep(500 * time.Microsecond)
		if n := b.came(); n != limit+1 {
			t.Fatalf("%d came", n)
		}
		time.Sleep(500 * time.Microsecond)
		b.reply(1)
		time.Sleep(3500 * time.Microsecond)
		if n := b.came(); n != limit+2 {
			t.Error("the younger one waits for longer than 5 ms, though there is room")
		}
	})
}

// A stream that ends under a question and its copy costs no answer either.
func TestStreamEndsUnderACopy(t *testing.T) {
	for name, last := range map[string]func(b *byHand, first int){
		"both open": func(*byHand, int) {},
		"the first not in time": func(b *byHand, first int) {
			_, items, _ := b.seen()
			_ = send(b.wire, &connectorv1.StreamAnswer{ItemId: items[first].GetItemId(), Answer: notInTime(items[first].GetSubject())})
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, b := newWorld(t), new(byHand)
				w.streams(b.serve)
				r, p := w.shop()
				for i := range 100 { // until it knows how long the platform takes
					ask(t, p, time.Second)
					time.Sleep(10 * time.Millisecond)
					b.reply(i)
				}
				q := ask(t, p, time.Second)
				time.Sleep(50 * time.Millisecond)
				if n, hedged := b.came(), load(t, r).Counts.Hedged; n != 102 || hedged != 1 {
					t.Fatalf("%d came, %d copies", n, hedged)
				}
				last(b, 100)
				b.end()
				synctest.Wait()
				if n := b.came(); n != 103 {
					t.Fatalf("%d came, want it to be asked once more", n)
				}
				b.reply(102)
				if a := q.wait(); a.State != platform.Bound {
					t.Errorf("%+v", a)
				}
				if l := load(t, r); l.Open != 0 || l.Waiting != 0 {
					t.Errorf("%+v", l)
				}
			})
		})
	}
}

func notInTime(s *connectorv1.Subject) *connectorv1.SubjectAnswer {
	return &connectorv1.SubjectAnswer{SubjectRef: s.GetSubjectRef(), State: connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME}
}

// An answer that came is not thrown away by an asker who takes the question back
// before it was told.
func TestWithdrawAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.streams(func(s streamServer) error {
			var held []*connectorv1.StreamAnswer
			for len(held) < 2 {
				r, err := s.Recv()
				if err != nil {
					return err
				}
				for _, it := range r.GetItems() {
					held = append(held, reply(it))
				}
			}
			_ = send(s, held...)
			<-s.Context().Done()
			return nil
		})
		_, p := w.shop()
		first, second := newQuestion(t, time.Second), newQuestion(t, time.Second)
		first.Done = func(*platform.Call) {
			p.Withdraw(&second.Call)
			close(first.done)
		}
		p.Ask(&first.Call)
		synctest.Wait()
		p.Ask(&second.Call)
		if a := second.wait(); a.State != platform.Bound {
			t.Errorf("%+v", a)
		}
	})
}

// A platform that refuses at once says nothing of how long its answers take.
func TestRefusalsAreNotFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var down atomic.Bool
		w.connector(&connector{lookup: func(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			if down.Load() {
				return nil, status.Error(codes.Unavailable, "down")
			}
			time.Sleep(20 * time.Millisecond)
			return answers(r, bound), nil
		}})
		r, p := w.shop()
		paced(t, p, 100, 25*time.Millisecond)
		before := load(t, r).P95
		down.Store(true)
		paced(t, p, 5000, 100*time.Microsecond)
		if after := load(t, r).P95; before < 20*time.Millisecond || after < before {
			t.Errorf("95 of 100 answers came within %v, then %v", before, after)
		}
	})
}

// A connector that takes larger batches, or a stream, from now on is asked in
// that way at once.
func TestDescribedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		s := &streamer{serve: prompt(f, after(0))}
		var anew atomic.Bool
		s.describe = func() (*connectorv1.DescribeResponse, error) {
			if anew.Load() {
				return streaming(), nil
			}
			return description(), nil
		}
		s.lookup = func(ctx context.Context, _ *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		w.connector(s)
		_, p := w.shop()
		for range 4 {
			ask(t, p, time.Minute)
			synctest.Wait()
		}
		q := ask(t, p, time.Minute) // all batches are in flight
		anew.Store(true)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if !q.Finished() || q.Answer().State != platform.Bound {
			t.Error("the question waits for a batch to end")
		}
	})
}
