package sdk

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// CleanTraceParent lets the tests of the package's outside reach it.
var CleanTraceParent = traceParent

func TestLineIsLeftFromAnywhere(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a repeatable choice
		var l line
		var want []*question
		for range 100 {
			if n := len(want); n > 0 && r.IntN(2) == 0 {
				i := r.IntN(n)
				l.remove(want[i])
				l.remove(want[i]) // a second time changes nothing
				want = slices.Delete(want, i, i+1)
			} else {
				q := &question{}
				l.push(q)
				want = append(want, q)
			}
		}
		for i, q := range want {
			if l.pop() != q {
				t.Fatalf("seed %d: another question at %d of %d", seed, i, len(want))
			}
		}
		if l.pop() != nil || l.last != nil {
			t.Fatalf("seed %d: something is left", seed)
		}
	}
}

func TestDeadlinesComeInOrderAndForgetTheClosed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0)) //nolint:gosec // a repeatable choice
	var d deadlines
	var open []*question
	start := time.Now()
	for range 10_000 {
		q := &question{deadline: start.Add(time.Duration(r.IntN(1e9)))}
		d.add(q)
		open = append(open, q)
		if len(open) > 100 {
			i := r.IntN(len(open))
			open[i].closed = true
			d.drop()
			open = slices.Delete(open, i, i+1)
		}
		if len(d.byTime) > 100+2*100+64 {
			t.Fatalf("%d kept for %d open", len(d.byTime), len(open))
		}
	}
	slices.SortFunc(open, func(a, b *question) int { return a.deadline.Compare(b.deadline) })
	for _, want := range open {
		q := d.next()
		if q == nil || !q.deadline.Equal(want.deadline) {
			t.Fatal("not the one that ends first")
		}
		q.closed = true
		d.drop()
	}
	if d.next() != nil {
		t.Error("something is left")
	}
}

// bare is a stream without a wire, for what can't be seen from outside.
func bare(t *testing.T) *stream {
	cfg, err := Config{PlatformID: "shop", Address: "memory", Concurrency: 1, MaxBatch: 256}.withDefaults(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	st := newStream(ctx, s, nil)
	t.Cleanup(func() {
		cancel()
		st.close()
		if err := s.close(time.Second); err != nil {
			t.Error(err)
		}
	})
	return st
}

func frameOf(from, to uint64) *connectorv1.StreamBindingsRequest {
	f := &connectorv1.StreamBindingsRequest{}
	for id := from; id < to; id++ {
		f.Items = append(f.Items, &connectorv1.StreamItem{ItemId: id, AnswerWithinMillis: 1, Subject: &connectorv1.Subject{
			SubjectRef: make([]byte, 16), PhoneNumber: "+8613800000001",
		}})
	}
	return f
}

func TestQuestionsThatExpireInLineLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := bare(t)
		st.service.places <- struct{}{} // a handler that never returns
		for f := range uint64(100) {
			if err := st.admit(frameOf(f*256, (f+1)*256)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			st.empty(nil)
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.line.first != nil || len(st.open) > 0 || len(st.times.byTime) > 256 {
			t.Errorf("left: a line %v, %d open, %d deadlines", st.line.first != nil, len(st.open), len(st.times.byTime))
		}
	})
}

func TestAnswersThatAreNotReadCountAsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := bare(t)
		st.service.places <- struct{}{}
		for f := uint64(0); ; f++ {
			err := st.admit(frameOf(f*256, (f+1)*256))
			if full := f == maxOpen/256; full != (status.Code(err) == codes.ResourceExhausted) || !full && err != nil {
				t.Fatalf("frame %d: %v", f, err)
			}
			if err != nil {
				return
			}
			time.Sleep(time.Millisecond) // answered, but not sent
		}
	})
}

func TestClosedQuestionsAreForgottenBeforeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := bare(t)
		st.service.places <- struct{}{}
		first := frameOf(1<<40, 1<<40+1) // stays, in front of all others
		first.Items[0].AnswerWithinMillis = 50_000
		if err := st.admit(first); err != nil {
			t.Fatal(err)
		}
		for f := range uint64(100) {
			frame := frameOf(f*256, (f+1)*256)
			for _, item := range frame.GetItems() {
				item.AnswerWithinMillis = 60_000
				frame.WithdrawnItemIds = append(frame.WithdrawnItemIds, item.GetItemId())
			}
			if err := st.admit(frame); err != nil {
				t.Fatal(err)
			}
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		if len(st.open) != 1 || len(st.times.byTime) > 256 {
			t.Errorf("left: %d open, %d deadlines", len(st.open), len(st.times.byTime))
		}
	})
}
