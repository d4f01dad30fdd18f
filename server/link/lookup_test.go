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
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// gate is a connector whose lookups wait until they are let through.
type gate struct {
	mu     sync.Mutex
	sizes  []int
	within []time.Duration
	refs   map[string]bool
	ended  atomic.Int32 // calls cancelled while they waited
	open   chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{}), refs: make(map[string]bool)} }

func (g *gate) lookup(ctx context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(r.GetSubjects()))
	g.within = append(g.within, r.GetAnswerWithin().AsDuration())
	for _, s := range r.GetSubjects() {
		g.refs[string(s.GetSubjectRef())] = len(s.GetSubjectRef()) == 16 && s.GetPhoneNumber() == number
	}
	g.mu.Unlock()
	select {
	case <-g.open:
		return answers(r, bound), nil
	case <-ctx.Done():
		g.ended.Add(1)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (g *gate) seen() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]int(nil), g.sizes...)
}

func TestAskGathersBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		_, p := w.shop()
		qs := fill(t, p, 4, 2500*time.Millisecond)
		for range 16 + 3 {
			qs = append(qs, ask(t, p, 2500*time.Millisecond))
		}
		synctest.Wait()
		if got := g.seen(); len(got) != 4 {
			t.Fatalf("in flight %v", got)
		}
		time.Sleep(time.Second)
		close(g.open)
		for _, q := range qs {
			a := q.wait()
			if a.State != platform.Bound || len(a.Accounts) != 1 || a.Accounts[0] != (platform.Account{Ref: "ref 1", Product: "商城", Period: platform.BeforeHolder}) {
				t.Fatalf("%+v", a)
			}
			if a.Took != time.Second {
				t.Errorf("took %v", a.Took)
			}
		}
		synctest.Wait()
		got := g.seen()
		total, largest := 0, 0
		for _, n := range got {
			total, largest = total+n, max(largest, n)
		}
		if total != len(qs) || largest != 16 || len(got) != 6 {
			t.Errorf("batches %v", got)
		}
		if len(g.refs) != len(qs) {
			t.Errorf("%d references for %d questions", len(g.refs), len(qs))
		}
		for _, ok := range g.refs {
			if !ok {
				t.Error("a subject was not sent as it should be")
			}
		}
		if g.within[0] != 2400*time.Millisecond {
			t.Errorf("answer_within %v", g.within[0])
		}
	})
}

func TestAskBeforeTheFirstDescription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		close(g.open)
		w.connector(&connector{lookup: g.lookup, describe: func() (*connectorv1.DescribeResponse, error) {
			return nil, status.Error(codes.Internal, "no")
		}})
		_, p := w.shop()
		var qs []*question
		for range 80 {
			qs = append(qs, ask(t, p, time.Second))
		}
		for _, q := range qs {
			if a := q.wait(); a.State != platform.Bound {
				t.Fatalf("%+v", a)
			}
		}
		for _, n := range g.seen() {
			if n != 1 {
				t.Fatalf("a batch of %d", n)
			}
		}
	})
}

func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		_, p := w.shop()
		flying := fill(t, p, 4, 2*time.Second)
		queued, other := ask(t, p, 2*time.Second), ask(t, p, 2*time.Second)
		synctest.Wait()

		p.Withdraw(&queued.Call)
		if a := queued.wait(); a.State != platform.Silent || a.Malformed {
			t.Errorf("queued: %+v", a)
		}
		p.Withdraw(&queued.Call) // again: nothing
		p.Withdraw(&flying[0].Call)
		if a := flying[0].wait(); a.State != platform.Silent {
			t.Errorf("in flight: %+v", a)
		}
		synctest.Wait()
		if n := g.ended.Load(); n != 1 {
			t.Errorf("%d batches were cancelled, 1 has nobody waiting", n)
		}
		if n := len(g.seen()); n != 5 { // the slot is free again
			t.Errorf("%d batches sent", n)
		}
		close(g.open)
		for _, q := range append(flying[1:], other) {
			if a := q.wait(); a.State != platform.Bound {
				t.Errorf("%+v", a)
			}
		}

		before := newQuestion(t, time.Second) // withdrawn before it is asked
		p.Withdraw(&before.Call)
		p.Ask(&before.Call)
		if a := before.wait(); a.State != platform.Silent {
			t.Errorf("%+v", a)
		}
	})
}

func TestWithdrawnCallDoesNotCancelItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		_, p := w.shop(func(o *link.Options) { o.MaxInFlight = 1 })
		first := fill(t, p, 4, time.Second) // 64/16 slots
		a, b, c := ask(t, p, 10*time.Second), ask(t, p, 10*time.Second), ask(t, p, 10*time.Second)
		for _, q := range first {
			q.wait()
		}
		synctest.Wait()
		if got := g.seen(); got[len(got)-1] != 3 {
			t.Fatalf("batches %v", got)
		}
		ended := g.ended.Load()
		p.Withdraw(&a.Call)
		synctest.Wait()
		if g.ended.Load() != ended {
			t.Fatal("the batch was cancelled")
		}
		p.Withdraw(&b.Call)
		close(g.open)
		if got := c.wait(); got.State != platform.Bound {
			t.Errorf("%+v", got)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		_, p := w.shop()
		start := time.Now()
		if a := ask(t, p, 0).wait(); a.State != platform.Silent || time.Since(start) != 0 {
			t.Errorf("past deadline: %+v", a)
		}
		qs := fill(t, p, 4, 2*time.Second)
		late, sent := ask(t, p, time.Second), ask(t, p, 3*time.Second)
		for _, q := range qs {
			if a := q.wait(); a.State != platform.Silent || a.Malformed || a.Took != 2*time.Second {
				t.Errorf("%+v", a)
			}
		}
		if a := late.wait(); a.State != platform.Silent { // nobody withdrew it: the gathering drops it
			t.Errorf("%+v", a)
		}
		if a := sent.wait(); a.State != platform.Silent || a.Took != 3*time.Second {
			t.Errorf("%+v", a)
		}
		if n := len(g.seen()); n != 5 {
			t.Errorf("%d batches", n)
		}
		if a := ask(t, p, 10*365*24*time.Hour).wait(); a.Took != time.Minute {
			t.Errorf("a deadline in 10 years: %v", a.Took)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		_, p := w.shop(func(o *link.Options) { o.MaxQueued = 10 })
		qs := fill(t, p, 4, time.Second)
		for range 10 {
			qs = append(qs, ask(t, p, time.Second))
		}
		over := ask(t, p, time.Second)
		select {
		case <-over.done:
		default:
			t.Fatal("the queue is not bounded")
		}
		if a := over.Answer(); a.State != platform.Silent || a.Malformed {
			t.Errorf("%+v", a)
		}
		p.Withdraw(&qs[5].Call) // makes room
		again := ask(t, p, time.Second)
		close(g.open)
		if a := again.wait(); a.State != platform.Bound {
			t.Errorf("%+v", a)
		}
	})
}

func TestRefusedConnectionIsSilentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, p := w.shop()
		start := time.Now()
		if a := ask(t, p, 2*time.Second).wait(); a.State != platform.Silent || a.Malformed || time.Since(start) > 100*time.Millisecond {
			t.Errorf("%+v after %v", a, time.Since(start))
		}
		if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != "it refuses connections" {
			t.Errorf("%+v", i)
		}
	})
}

// Calls are asked, answered, withdrawn and cut off by Leave all at once: each is
// finished exactly once (a second Done would close a closed channel).
func TestDoneExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.connector(&connector{})
		r, p := w.shop(func(o *link.Options) { o.MaxQueued = 50 })
		var wg sync.WaitGroup
		qs := make([]*question, 400)
		for i := range qs {
			qs[i] = newQuestion(t, time.Second)
			wg.Go(func() { p.Ask(&qs[i].Call) })
			if i%2 == 0 {
				wg.Go(func() { p.Withdraw(&qs[i].Call) })
				wg.Go(func() { p.Withdraw(&qs[i].Call) })
			}
		}
		wg.Go(func() { r.Leave("shop") })
		wg.Wait()
		for _, q := range qs {
			q.wait()
		}
	})
}
