package lookup_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
)

// run lets the hub ask again until stop is called.
func (h *hub) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := h.service
	go func() { done <- s.RunReasks(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("RunReasks ended with %v", err)
		}
	})
}

// inLate runs a story in a hub that asks again; restart in it is a stop and a
// start.
func inLate(t *testing.T, change func(*hub), story func(h *hub, restart func()), platforms ...*peer) {
	inHub(t, func(h *hub) {
		if change != nil {
			change(h)
			h.crash()
		}
		stop := h.run()
		defer func() { stop() }()
		story(h, func() {
			stop()
			h.service.Close(h.Context())
			h.crash()
			stop = h.run()
		})
	}, platforms...)
}

// question is a question and when it came.
type question struct {
	*platform.Call
	at time.Time
}

// flaky is a platform that is silent until a time and notes when it was asked.
type flaky struct {
	*peer
	mu    sync.Mutex
	up    bool
	calls []question
}

func newFlaky(id platform.ID) *flaky {
	f := &flaky{}
	f.peer = newPeer(id, func(c *platform.Call) {
		f.mu.Lock()
		f.calls = append(f.calls, question{c, time.Now()})
		up := f.up
		f.mu.Unlock()
		if up {
			c.Finish(bound())
		}
	})
	f.asked = make(chan *platform.Call, 100_000)
	return f
}

func (f *flaky) comeBack() { f.mu.Lock(); defer f.mu.Unlock(); f.up = true }

func (f *flaky) questions() []question {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func TestGapsGrowUntilFinal(t *testing.T) {
	came, dead := newFlaky("came"), newFlaky("dead")
	inLate(t, nil, func(h *hub, _ func()) {
		time.AfterFunc(10*time.Minute, came.comeBack)
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(23 * time.Hour)
		if got := h.get(r, l.ID); got.Number.IsZero() || got.Revision != 4+1 {
			h.Errorf("before the end: revision %d, number %v", got.Revision, got.Number)
		}
		time.Sleep(25 * time.Hour)
		got := h.get(r, l.ID)
		h.states(got, true, platform.Bound, platform.Silent)
		if got.Revision != 4+1 || !got.Number.IsZero() || !got.WakeTime.IsZero() {
			h.Errorf("after the end: revision %d, number %v, wake %v", got.Revision, got.Number, got.WakeTime)
		}
		calls := dead.questions()
		end := calls[0].at.Add(2500 * time.Millisecond) // of the question
		for i, c := range calls[1:] {
			longest := min(30*time.Second<<min(i, 10), time.Hour)
			if gap := c.at.Sub(end); gap < longest/2 || gap > longest+4*time.Second { // a round for the other one may be under way
				h.Errorf("gap %d is %v, want %v to %v", i, gap, longest/2, longest)
			}
			if c.Number != r.Number || !c.HolderSince.Equal(r.HolderSince) || !c.Deadline.Equal(c.at.Add(2500*time.Millisecond)) && !c.Deadline.Equal(l.FinalBy) {
				h.Errorf("question %d: %+v", i, c.Call)
			}
			if c.at.After(l.FinalBy) {
				h.Errorf("asked at %v, final by %v", c.at, l.FinalBy)
			}
			end = c.at.Add(2500 * time.Millisecond)
		}
		if n := len(calls); n < 24 || n > 64 {
			h.Errorf("asked %d times in a day", n)
		}
		if h.outbox.count() != 0 {
			h.Error("a message although one stayed silent")
		}
	}, came.peer, dead.peer)
}

func TestLateAnswer(t *testing.T) {
	flaky := newFlaky("flaky")
	inLate(t, nil, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(3 * time.Second)
		before := h.get(r, l.ID)
		h.states(before, true, platform.Bound, platform.Silent)
		flaky.comeBack()
		time.Sleep(time.Minute)
		got := h.get(r, l.ID)
		h.states(got, true, platform.Bound, platform.Bound)
		asked, answered, silent := got.Counts()
		if got.Revision != before.Revision+1 || asked != 2 || answered != 2 || silent != 0 {
			h.Errorf("revision %d after %d, counts %d, %d, %d", got.Revision, before.Revision, asked, answered, silent)
		}
		if n := h.outbox.count(); n != 1 || h.outbox.sent[0] != "+8613800130001 "+l.CreateTime.UTC().Format(time.RFC3339) {
			h.Errorf("messages: %v", h.outbox.sent)
		}
		time.Sleep(47 * time.Hour)
		if got = h.get(r, l.ID); !got.Number.IsZero() || h.outbox.count() != 1 || len(flaky.questions()) != 2 {
			h.Errorf("afterwards: number %v, %d messages, %d questions", got.Number, h.outbox.count(), len(flaky.questions()))
		}
		if len(h.observed["flaky"]) != 1 || h.late["flaky"] != 1 || h.late["fast"] != 0 {
			h.Errorf("observed %d, late %v", len(h.observed["flaky"]), h.late)
		}
	}, newPeer("fast", atOnce), flaky.peer)
}

// TestNothingSilentNothingLate: a lookup that everybody answered keeps no number
// and gets no message.
func TestNothingSilentNothingLate(t *testing.T) {
	fast := newPeer("fast", atOnce)
	inLate(t, nil, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		if got := h.get(r, l.ID); !got.Number.IsZero() || !got.WakeTime.IsZero() {
			h.Errorf("number %v, wake %v", got.Number, got.WakeTime)
		}
		time.Sleep(48 * time.Hour)
		if len(fast.asked) != 1 || h.outbox.count() != 0 {
			h.Errorf("asked %d times, %d messages", len(fast.asked), h.outbox.count())
		}
	}, fast)
}

func TestReasksSurviveARestart(t *testing.T) {
	one, two := newFlaky("one"), newFlaky("two")
	inLate(t, nil, func(h *hub, restart func()) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(10 * time.Minute)
		restart()
		n := len(one.questions())
		one.comeBack()
		time.Sleep(20 * time.Minute)
		if len(one.questions()) != n+1 {
			h.Errorf("asked %d times before the restart, %d after", n, len(one.questions())-n)
		}
		got := h.get(r, l.ID)
		h.states(got, true, platform.Bound, platform.Silent)
		if gap := got.Rows[1].Reasks; gap < n-1 {
			h.Errorf("the gap began anew: %d", gap)
		}
		restart()
		two.comeBack()
		time.Sleep(time.Hour)
		restart()
		time.Sleep(time.Hour)
		h.states(h.get(r, l.ID), true, platform.Bound, platform.Bound)
		if h.outbox.count() != 1 {
			h.Errorf("%d messages", h.outbox.count())
		}
	}, one.peer, two.peer)
}

// TestLookupLostInACrashIsAskedAgain: what a crash in the middle of a lookup
// lost is asked again, whether or not it had been answered.
func TestLookupLostInACrashIsAskedAgain(t *testing.T) {
	one, two := newFlaky("one"), newFlaky("two")
	inHub(t, func(h *hub) {
		one.comeBack()
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(time.Second)
		old := h.service
		h.crash()
		stop := h.run()
		shown := h.get(r, l.ID)
		h.states(shown, true, platform.Silent, platform.Silent)
		two.comeBack()
		time.Sleep(time.Minute)
		got := h.get(r, l.ID)
		h.states(got, true, platform.Bound, platform.Bound)
		if got.Revision != shown.Revision+2 || h.outbox.count() != 1 {
			h.Errorf("revision %d after %d, %d messages", got.Revision, shown.Revision, h.outbox.count())
		}
		stop()
		old.Close(h.Context())
	}, one.peer, two.peer)
}

// TestComingBackIsGentle: a platform that was away for an hour gets its backlog
// at its rate.
func TestComingBackIsGentle(t *testing.T) {
	down, other := newFlaky("down"), newFlaky("other")
	inLate(t, noLimits, func(h *hub, _ func()) {
		r := h.request("alice")
		var ids []string
		for range 60 {
			ids = append(ids, h.start(r).ID)
		}
		time.Sleep(3 * time.Second)
		h.join(other) // and many fall due
		other.comeBack()
		time.Sleep(time.Hour)
		for _, id := range ids {
			if l := h.get(r, id); l.Rows[1].State != platform.Bound || l.Rows[0].Reasks != 0 {
				h.Fatalf("while it was away: %+v", l.Rows)
			}
		}
		down.comeBack()
		h.join(down, other)
		time.Sleep(2 * time.Minute)
		calls := down.questions()[len(ids):]
		if len(calls) != len(ids) {
			h.Fatalf("%d questions for %d lookups", len(calls), len(ids))
		}
		for i := 5; i < len(calls); i++ {
			if gap := calls[i].at.Sub(calls[i-5].at); gap < time.Second {
				h.Fatalf("6 questions within %v", gap)
			}
		}
		if d := calls[len(calls)-1].at.Sub(calls[0].at); d > 15*time.Second {
			h.Errorf("the backlog took %v", d)
		}
		for _, id := range ids {
			h.states(h.get(r, id), true, platform.Bound, platform.Bound)
		}
	}, down.peer, other.peer)
}

// noLimits lets one session start any number of lookups.
func noLimits(h *hub) { h.limits.PerSession, h.limits.PerNumberDay = 0, 0 }

// TestSilenceHoldsUpNobody: a hundred lookups wait for a platform that hangs; a
// platform beside it is asked again on time.
func TestSilenceHoldsUpNobody(t *testing.T) {
	dead, other := newFlaky("dead"), newFlaky("other")
	inLate(t, func(h *hub) { noLimits(h); h.limits.ReasksAtOnce = 6 }, func(h *hub, _ func()) {
		r := h.request("alice")
		r.Platforms = []platform.ID{"dead"}
		for range 100 {
			h.start(r)
		}
		r.Platforms = []platform.ID{"other"}
		l := h.start(r)
		other.comeBack()
		time.Sleep(34 * time.Second)
		h.states(h.get(r, l.ID), true, platform.NotAsked, platform.Bound)
		calls := dead.questions()[100:]
		for i := 6; i < len(calls); i++ {
			if gap := calls[i].at.Sub(calls[i-6].at); gap < 2500*time.Millisecond {
				h.Fatalf("7 questions unanswered at once, within %v", gap)
			}
		}
		if len(calls) < 20 || len(calls) == 100 {
			h.Errorf("%d questions", len(calls))
		}
	}, dead.peer, other.peer)
}

// TestUnfitIsNotAsked: a platform that left or answers no lookups any more is
// not asked, its gap does not grow, and it is asked soon after it is back.
func TestUnfitIsNotAsked(t *testing.T) {
	dead := newFlaky("dead")
	inLate(t, nil, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(3 * time.Second)
		h.join()
		time.Sleep(5 * time.Hour)
		if n := len(dead.questions()); n != 1 {
			h.Errorf("asked %d times although it left", n)
		}
		dead.comeBack()
		h.join(dead.peer)
		time.Sleep(time.Minute + time.Second)
		h.states(h.get(r, l.ID), true, platform.Bound)
	}, dead.peer)
}

// TestStopCutsOffARound: what a stop cuts off costs no gap and is asked again.
func TestStopCutsOffARound(t *testing.T) {
	dead := newFlaky("dead")
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		stop := h.run()
		for len(dead.questions()) < 2 {
			time.Sleep(100 * time.Millisecond)
		}
		began := time.Now()
		stop()
		if d := time.Since(began); d != 0 {
			h.Errorf("the stop took %v", d)
		}
		if got := h.get(r, l.ID); got.Rows[0].Reasks != 0 {
			h.Errorf("the gap grew: %d", got.Rows[0].Reasks)
		}
		dead.comeBack()
		stop = h.run()
		h.states(h.get(r, l.ID), true, platform.Bound)
		stop()
	}, dead.peer)
}

// TestReasksEndWithTheStore: a store that fails ends the worker with an error.
func TestReasksEndWithTheStore(t *testing.T) {
	inHub(t, func(h *hub) {
		h.check(h.store.Close())
		if err := h.service.RunReasks(h.Context()); err == nil {
			h.Error("it went on over a closed store")
		}
		h.open()
	})
}

func TestNextReask(t *testing.T) {
	now := time.Now()
	gap := func(n int, rnd float64) time.Duration {
		return lookup.NextReask(now, n, 30*time.Second, time.Hour, rnd).Sub(now)
	}
	for n, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		if got := gap(n, 0); got != want {
			t.Errorf("gap %d is %v, want %v", n, got, want)
		}
		if got := gap(n, 0.9999); got < want/2 || got > want*51/100 {
			t.Errorf("gap %d shortened is %v", n, got)
		}
	}
	for _, n := range []int{-1, 15, 16, 63, 64, 1 << 40} {
		if got := gap(n, 0); got < 30*time.Second || got > time.Hour {
			t.Errorf("gap %d is %v", n, got)
		}
	}
}
