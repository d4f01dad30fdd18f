package link_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

func load(t *testing.T, r *link.Roster) platform.Load {
	t.Helper()
	l, ok := r.Load("shop")
	if !ok {
		t.Fatal("shop has no load")
	}
	return l
}

// paced asks n questions, one every gap, and returns them once all have ended.
func paced(t *testing.T, p platform.Platform, n int, gap time.Duration) []*question {
	t.Helper()
	var qs []*question
	for range n {
		qs = append(qs, ask(t, p, 2500*time.Millisecond))
		time.Sleep(gap)
	}
	for _, q := range qs {
		q.wait()
	}
	return qs
}

// One question in a hundred takes half a second, and its copy does not: nobody
// notices, for two questions more in a hundred at most. Those that come a little
// late use up nothing of that.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var n atomic.Int64
		w.streams(prompt(f, func(*connectorv1.StreamItem) time.Duration {
			switch i := n.Add(1); {
			case i%101 == 0:
				return 500 * time.Millisecond
			case i%25 == 0:
				return 24 * time.Millisecond
			}
			return 20 * time.Millisecond
		}))
		r, p := w.shop()
		paced(t, p, 200, 10*time.Millisecond) // until it knows how long the platform takes
		before := load(t, r).Counts
		slow := 0
		for _, q := range paced(t, p, 2000, 10*time.Millisecond) {
			if a := q.Answer(); a.State != platform.Bound || a.Took > 100*time.Millisecond {
				slow++
			}
		}
		after := load(t, r).Counts
		if slow > 2 {
			t.Errorf("%d of 2000 questions were slow", slow)
		}
		hedged, asked := after.Hedged-before.Hedged, after.Asked-before.Asked
		if hedged < 10 || float64(hedged) > 0.02*float64(asked)+16 || after.Sent-before.Sent != asked+hedged {
			t.Errorf("%+v after %+v", after, before)
		}
		_, _, withdrawn := f.seen()
		if len(withdrawn) < 10 {
			t.Errorf("the platform was told of %d questions that nobody waits for", len(withdrawn))
		}
	})
}

// A platform that becomes slow as a whole would only become slower by copies.
func TestSlowPlatformIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var slow atomic.Bool
		w.streams(prompt(f, func(*connectorv1.StreamItem) time.Duration {
			if slow.Load() {
				return 400 * time.Millisecond
			}
			return 20 * time.Millisecond
		}))
		r, p := w.shop()
		paced(t, p, 500, time.Millisecond)
		before := load(t, r).Counts
		slow.Store(true)
		paced(t, p, 300, time.Millisecond)
		if got := load(t, r).Counts.Hedged - before.Hedged; got > 3 { // until the first are late together
			t.Errorf("%d copies", got)
		}
	})
}

// An unbind order is sent once, however long it takes.
func TestUnbindIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var orders atomic.Int64
		s := w.streams(prompt(f, after(20*time.Millisecond)))
		s.unbind = func(*connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
			orders.Add(1)
			time.Sleep(10 * time.Second)
			return &connectorv1.RequestUnbindResponse{Result: &connectorv1.UnbindResult{State: connectorv1.UnbindState_UNBIND_STATE_COMPLETED}}, nil
		}
		_, p := w.shop()
		paced(t, p, 200, 10*time.Millisecond)
		if _, err := p.Unbind(t.Context(), platform.UnbindOrder{OrderID: "01J0000000000000000000ABCD", Number: mobile(t), AccountRefs: []string{"a"}, Attempt: 1}); err != nil || orders.Load() != 1 {
			t.Errorf("%d orders, %v", orders.Load(), err)
		}
	})
}

// A platform that answers nothing is asked less and less, then not at all but for
// a question now and then; its first answer ends that.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var down atomic.Bool
		w.streams(prompt(f, func(*connectorv1.StreamItem) time.Duration {
			if down.Load() {
				return time.Hour
			}
			return time.Millisecond
		}))
		r, p := w.shop()
		paced(t, p, 20, 10*time.Millisecond)
		if l := load(t, r); l.Breaker != "CLOSED" || !l.Stream {
			t.Fatalf("%+v", l)
		}
		down.Store(true)
		paced(t, p, 300, 20*time.Millisecond)
		l := load(t, r)
		if l.Breaker != "OPEN" || l.Until.IsZero() || l.Limit >= 64 {
			t.Fatalf("%+v", l)
		}
		_, before, _ := f.seen()
		fill(t, p, 1, 2*time.Second) // may be the one that probes
		if a := ask(t, p, 2*time.Second); !a.Finished() || a.Answer().State != platform.Silent {
			t.Error("a question waits for a platform that is down")
		}
		began := time.Now()
		paced(t, p, 1000, 100*time.Millisecond)
		_, after, _ := f.seen()
		if probes, most := len(after)-len(before), int(time.Since(began)/(5*time.Second)); probes < 5 || probes > most {
			t.Errorf("%d questions were sent in %v", probes, time.Since(began))
		}
		down.Store(false)
		began = time.Now()
		for ask(t, p, 2*time.Second).wait().State != platform.Bound {
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("the first answer came after %v", d)
		}
		if l := load(t, r); l.Breaker != "CLOSED" || !l.Until.IsZero() {
			t.Errorf("%+v", l)
		}
	})
}

// A platform that answers some is asked as before.
func TestBreakerStaysClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var n atomic.Int64
		w.streams(prompt(f, func(*connectorv1.StreamItem) time.Duration {
			if n.Add(1)%5 != 0 {
				return time.Hour
			}
			return time.Millisecond
		}))
		r, p := w.shop()
		bound := 0
		for _, q := range paced(t, p, 500, 20*time.Millisecond) {
			if q.Answer().State == platform.Bound {
				bound++
			}
		}
		if l := load(t, r); l.Breaker != "CLOSED" || bound < 50 {
			t.Errorf("%d answers, %+v", bound, l)
		}
	})
}

// The limit grows while a platform keeps up, and falls where it does not.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), new(frames)
		var slow atomic.Bool
		w.streams(prompt(f, func(it *connectorv1.StreamItem) time.Duration {
			if slow.Load() && it.GetItemId()%2 == 0 {
				return time.Hour
			}
			return 50 * time.Millisecond
		}))
		r, p := w.shop()
		burst := func() {
			var qs []*question
			for range 400 {
				qs = append(qs, ask(t, p, time.Second))
			}
			for _, q := range qs {
				q.wait()
			}
		}
		var limits []int
		for range 6 {
			burst()
			limits = append(limits, load(t, r).Limit)
		}
		top := limits[len(limits)-1]
		if top < 400 {
			t.Errorf("it grew to %v", limits)
		}
		slow.Store(true)
		for range 6 {
			burst()
			limits = append(limits, load(t, r).Limit)
		}
		if last := limits[len(limits)-1]; last > top/2 {
			t.Errorf("it fell to %v", fmt.Sprint(limits))
		}
	})
}
