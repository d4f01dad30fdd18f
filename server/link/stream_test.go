package link_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

type streamServer = connectorv1.ConnectorService_StreamBindingsServer

// streamer is a connector that serves the stream, as a test says.
type streamer struct {
	connector
	serve func(streamServer) error
}

func (s *streamer) StreamBindings(stream streamServer) error { return s.serve(stream) }

func streaming() *connectorv1.DescribeResponse {
	d := description()
	d.StreamBindings, d.MaxBatch = true, 256
	return d
}

// streams serves the platform "shop" with a stream.
func (w *world) streams(serve func(streamServer) error, more ...grpc.ServerOption) *streamer {
	s := &streamer{serve: serve}
	s.describe = func() (*connectorv1.DescribeResponse, error) { return streaming(), nil }
	w.connector(s, more...)
	return s
}

// frames records what a stream brought.
type frames struct {
	mu        sync.Mutex
	sizes     []int
	withdrawn []uint64
	items     []*connectorv1.StreamItem
}

// next reads a frame and notes it; nil at the stream's end.
func (f *frames) next(s streamServer) ([]*connectorv1.StreamItem, error) {
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes = append(f.sizes, len(r.GetItems()))
	f.withdrawn = append(f.withdrawn, r.GetWithdrawnItemIds()...)
	f.items = append(f.items, r.GetItems()...)
	return r.GetItems(), nil
}

func (f *frames) seen() (sizes []int, items []*connectorv1.StreamItem, withdrawn []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sizes), slices.Clone(f.items), slices.Clone(f.withdrawn)
}

func reply(it *connectorv1.StreamItem) *connectorv1.StreamAnswer {
	return &connectorv1.StreamAnswer{ItemId: it.GetItemId(), Answer: bound(it.GetSubject())}
}

func send(s streamServer, answers ...*connectorv1.StreamAnswer) error {
	return s.Send(&connectorv1.StreamBindingsResponse{Answers: answers})
}

// prompt answers every question after d, each for itself, and notes the frames.
func prompt(f *frames, d func(item *connectorv1.StreamItem) time.Duration) func(streamServer) error {
	return func(s streamServer) error {
		var all sync.WaitGroup
		defer all.Wait()
		var sending sync.Mutex
		for {
			items, err := f.next(s)
			if err != nil {
				return nil
			}
			for _, it := range items {
				all.Go(func() {
					select {
					case <-time.After(d(it)):
					case <-s.Context().Done():
						return
					}
					sending.Lock()
					defer sending.Unlock()
					_ = send(s, reply(it))
				})
			}
		}
	}
}

func after(d time.Duration) func(*connectorv1.StreamItem) time.Duration {
	return func(*connectorv1.StreamItem) time.Duration { return d }
}

// Answers come in another order than the questions, several questions share a
// frame, and each finds its own.
func TestStreamOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		w.streams(func(s streamServer) error {
			var held []*connectorv1.StreamItem
			for {
				items, err := f.next(s)
				if err != nil {
					return nil
				}
				held = append(held, items...)
				if len(held) < 20 {
					continue
				}
				for _, it := range slices.Backward(held) {
					a := reply(it)
					a.Answer.Accounts[0].AccountRef = it.GetSubject().GetPhoneNumber() + "x"
					if err := send(s, a); err != nil {
						return err
					}
				}
			}
		})
		_, p := w.shop()
		qs := fill(t, p, 10, time.Second)
		for range 10 {
			qs = append(qs, ask(t, p, time.Second))
		}
		for _, q := range qs {
			if a := q.wait(); a.State != platform.Bound || a.Malformed {
				t.Fatalf("%+v", a)
			}
		}
		sizes, items, _ := f.seen()
		if len(items) != 20 || len(sizes) > 15 {
			t.Errorf("frames of %v", sizes)
		}
		ids := make(map[uint64]bool)
		for _, it := range items {
			if ids[it.GetItemId()] || len(it.GetSubject().GetSubjectRef()) != 16 || it.GetAnswerWithinMillis() != 900 {
				t.Errorf("item %v", it)
			}
			ids[it.GetItemId()] = true
		}
	})
}

// The gathering rule: at once while little is open, from then on by the eighth of
// what is open, and after 5 ms in any case.
func TestGatheringRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		w.streams(prompt(f, after(time.Second)))
		_, p := w.shop()
		for range 32 {
			ask(t, p, 3*time.Second)
			time.Sleep(6 * time.Millisecond) // so that each is sent
		}
		began := time.Now()
		sizes, _, _ := f.seen()
		before := len(sizes)
		for range 3 {
			ask(t, p, 3*time.Second)
		}
		synctest.Wait()
		if sizes, _, _ = f.seen(); len(sizes) != before {
			t.Fatalf("3 of the 4 that are an eighth of 32 were sent: %v", sizes)
		}
		ask(t, p, 3*time.Second)
		synctest.Wait()
		if sizes, _, _ = f.seen(); len(sizes) != before+1 || sizes[before] != 4 || time.Since(began) != 0 {
			t.Fatalf("an eighth was not sent: %v", sizes)
		}
		ask(t, p, 3*time.Second)
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		if sizes, _, _ = f.seen(); len(sizes) != before+2 || sizes[before+1] != 1 {
			t.Fatalf("what waited 5 ms was not sent: %v", sizes)
		}
	})
}

func TestStreamWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		w.streams(prompt(f, after(time.Second)))
		_, p := w.shop()
		qs := fill(t, p, 3, 5*time.Second)
		p.Withdraw(&qs[1].Call)
		if a := qs[1].wait(); a.State != platform.Silent || a.Malformed {
			t.Errorf("%+v", a)
		}
		last := fill(t, p, 1, 5*time.Second)[0]
		if a := last.wait(); a.State != platform.Bound {
			t.Errorf("%+v", a)
		}
		if a := qs[0].wait(); a.State != platform.Bound {
			t.Errorf("a neighbour: %+v", a)
		}
		_, items, withdrawn := f.seen()
		if !slices.Equal(withdrawn, []uint64{items[1].GetItemId()}) {
			t.Errorf("withdrawn %v of %v", withdrawn, items)
		}
	})
}

// A question that nobody withdraws ends at its deadline, to the moment.
func TestStreamDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		w.streams(prompt(f, after(time.Hour)))
		_, p := w.shop()
		late, soon := ask(t, p, 2*time.Second), ask(t, p, time.Second)
		if a := soon.wait(); a.State != platform.Silent || a.Took != time.Second {
			t.Errorf("%+v", a)
		}
		if a := late.wait(); a.State != platform.Silent || a.Took != 2*time.Second {
			t.Errorf("%+v", a)
		}
		if a := ask(t, p, time.Hour).wait(); a.Took != time.Minute {
			t.Errorf("a deadline in an hour: %v", a.Took)
		}
	})
}

// What comes back wrong costs the one it belongs to; what belongs to nobody costs
// nobody.
func TestStreamMalformed(t *testing.T) {
	for name, spoil := range map[string]func(*connectorv1.StreamAnswer) []*connectorv1.StreamAnswer{
		"no answer": func(a *connectorv1.StreamAnswer) []*connectorv1.StreamAnswer { a.Answer = nil; return list(a) },
		"another ref": func(a *connectorv1.StreamAnswer) []*connectorv1.StreamAnswer {
			a.Answer.SubjectRef[0]++
			return list(a)
		},
		"51 accounts": func(a *connectorv1.StreamAnswer) []*connectorv1.StreamAnswer {
			a.Answer.Accounts = several(51)
			return list(a)
		},
		"another's id": func(a *connectorv1.StreamAnswer) []*connectorv1.StreamAnswer { a.ItemId++; return list(a) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.streams(func(s streamServer) error {
					r, err := s.Recv()
					if err != nil {
						return err
					}
					second, err := s.Recv()
					if err != nil {
						return err
					}
					out := append(spoil(reply(r.GetItems()[0])), &connectorv1.StreamAnswer{ItemId: 1 << 60})
					if name != "another's id" {
						out = append(out, reply(second.GetItems()[0]), reply(second.GetItems()[0]))
					}
					_ = send(s, out...)
					<-s.Context().Done()
					return nil
				})
				_, p := w.shop()
				qs := fill(t, p, 2, time.Second)
				bad, good := qs[0].wait(), qs[1].wait()
				if name == "another's id" { // the second is accused with a foreign reference, the first is left alone
					bad, good = good, bad
					if good.State != platform.Silent || good.Malformed {
						t.Errorf("the one without an answer: %+v", good)
					}
				} else if good.State != platform.Bound {
					t.Errorf("its neighbour: %+v", good)
				}
				if bad.State != platform.Silent || !bad.Malformed {
					t.Errorf("%+v", bad)
				}
			})
		})
	}
}

func list(a ...*connectorv1.StreamAnswer) []*connectorv1.StreamAnswer { return a }
