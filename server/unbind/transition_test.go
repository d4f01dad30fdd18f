package unbind_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var day1 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// inState is an order that the platform last spoke of on day 1.
func inState(s unbind.State) unbind.Order {
	o := unbind.New("id", day1, day1.Add(120*time.Hour), unbind.Order{Platform: "shop"})
	o.State, o.ReportTime = s, day1
	if s.Final() {
		o.NextTime = time.Time{}
	}
	return o
}

func report(stage platform.Stage, at time.Time) platform.Report {
	r := platform.Report{Stage: stage, Time: at}
	switch stage {
	case platform.StageActionRequired:
		r.ActionURL = "https://shop.example/go"
	case platform.StageRefused:
		r.RefusalReason = "HAS_DEBT"
	}
	return r
}

const (
	queued, sending, review, action = unbind.Queued, unbind.Sending, unbind.InReview, unbind.ActionRequired
	completed, refused, abandoned   = unbind.Completed, unbind.Refused, unbind.Abandoned
	cancelled, appealed             = unbind.Cancelled, unbind.Appealed
)

var open = []unbind.State{queued, appealed, review, action}

// moves lists every transition with the states it leads out of, and where to.
// From every other state it leads nowhere.
var moves = []struct {
	name string
	t    func(now, platformTime time.Time) unbind.Transition
	from []unbind.State
	to   unbind.State
	// newerOnly: out of the states of equal rank only with a later platform time.
	newerOnly []unbind.State
}{
	{"answered in review", answered(platform.StageInReview, false), []unbind.State{queued, appealed}, review, []unbind.State{action}},
	{"answered action required", answered(platform.StageActionRequired, false), []unbind.State{queued, appealed}, action, []unbind.State{review}},
	{"answered completed", answered(platform.StageCompleted, false), open, completed, nil},
	{"answered refused", answered(platform.StageRefused, false), open, refused, nil},
	{"polled in review", answered(platform.StageInReview, true), []unbind.State{queued, appealed}, review, []unbind.State{action}},
	{"polled completed", answered(platform.StageCompleted, true), open, completed, nil},
	{"reported in review", reported(platform.StageInReview), []unbind.State{queued, appealed}, review, []unbind.State{action}},
	{"reported action required", reported(platform.StageActionRequired), []unbind.State{queued, appealed}, action, []unbind.State{review}},
	{"reported completed", reported(platform.StageCompleted), open, completed, nil},
	{"reported refused", reported(platform.StageRefused), open, refused, nil},
	{"retry", byHub(func(a unbind.Attempt) unbind.Transition {
		return unbind.Retry(a, "UNAVAILABLE", a.Ended.Add(time.Minute))
	}), nil, 0, nil},
	{"snooze", byHub(func(a unbind.Attempt) unbind.Transition {
		return unbind.Snooze(a, "RESOURCE_EXHAUSTED", a.Ended.Add(time.Minute))
	}), nil, 0, nil},
	{"holder unknown", byHub(func(a unbind.Attempt) unbind.Transition {
		return unbind.HolderUnknown(a.Ended, a.Ended.Add(time.Minute))
	}), nil, 0, nil},
	{"too old", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.Abandon(a, "TOO_OLD") }), []unbind.State{queued, appealed}, abandoned, nil},
	{"already exists", byHub(unbind.Disowned), open, abandoned, nil},
	{"holder changed", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.HolderChanged(a.Ended) }), []unbind.State{queued, appealed}, cancelled, nil},
	{"forgotten", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.Forgotten(a.Ended) }), []unbind.State{review, action}, cancelled, nil},
	{"cancelled by person", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.CancelledByPerson(a.Ended) }), []unbind.State{queued}, cancelled, nil},
	{"appealed by person", byHub(func(a unbind.Attempt) unbind.Transition {
		return unbind.AppealedByPerson(a.Ended, a.Ended.Add(time.Hour))
	}), []unbind.State{refused}, appealed, nil},
	{"replayed", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.Replayed(a.Ended) }), []unbind.State{abandoned}, queued, nil},
	{"discarded", byHub(func(a unbind.Attempt) unbind.Transition { return unbind.Discarded(a.Ended, "gone") }), nil, 0, nil},
}

func answered(stage platform.Stage, polled bool) func(now, at time.Time) unbind.Transition {
	return func(now, at time.Time) unbind.Transition {
		return unbind.Answered(unbind.Attempt{Began: now, Ended: now, Polled: polled}, report(stage, at), now.Add(time.Hour))
	}
}

func reported(stage platform.Stage) func(now, at time.Time) unbind.Transition {
	return func(now, at time.Time) unbind.Transition {
		return unbind.Reported(now, report(stage, at), now.Add(time.Hour))
	}
}

func byHub(f func(unbind.Attempt) unbind.Transition) func(now, at time.Time) unbind.Transition {
	return func(now, _ time.Time) unbind.Transition { return f(unbind.Attempt{Began: now, Ended: now}) }
}

func in(s unbind.State, list []unbind.State) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// TestApplyEveryPair puts every transition to every state that an order can have
// on disk, with the platform's time before and after what is known.
func TestApplyEveryPair(t *testing.T) {
	now := day1.Add(time.Hour)
	for _, m := range moves {
		for s := unbind.Queued; s <= unbind.Appealed; s++ {
			if s == sending { // a lease, never on disk
				continue
			}
			for _, newer := range []bool{false, true} {
				at := day1.Add(-time.Minute)
				if newer {
					at = day1.Add(time.Minute)
				}
				o := inState(s)
				want := s
				if in(s, m.from) || newer && in(s, m.newerOnly) {
					want = m.to
				}
				changed := o.Apply(m.t(now, at))
				if o.State != want || changed != (want != s) {
					t.Errorf("%s applied to %s (newer: %v): %s, changed %v; want %s", m.name, s, newer, o.State, changed, want)
				}
				if o.State.Final() != o.NextTime.IsZero() {
					t.Errorf("%s applied to %s: state %s has next time %v", m.name, s, o.State, o.NextTime)
				}
			}
		}
	}
}

func TestFinalOrderIsNotTouched(t *testing.T) {
	for _, s := range []unbind.State{completed, refused, abandoned, cancelled} {
		for _, m := range moves {
			o := inState(s)
			if in(s, m.from) || m.name == "discarded" && s == abandoned {
				continue // a person or an operator opens it again, or puts it aside
			}
			o.RefusalReason = "HAS_BALANCE"
			o.Apply(m.t(day1.Add(time.Hour), day1.Add(time.Hour)))
			if o.Attempts != 0 || o.Polls != 0 || len(o.History) != 1 || o.RefusalReason != "HAS_BALANCE" || !o.ReportTime.Equal(day1) {
				t.Errorf("%s changed a %s order: %+v", m.name, s, o)
			}
		}
	}
}

func TestAttemptsAndPolls(t *testing.T) {
	o := inState(queued)
	a := unbind.Attempt{Began: day1, Ended: day1.Add(time.Second)}
	next := day1.Add(time.Hour)
	o.Apply(unbind.Snooze(a, "RESOURCE_EXHAUSTED", next))
	if o.Attempts != 0 || !o.NextTime.Equal(next) {
		t.Fatalf("a snooze cost an attempt or set no time: %d, %v", o.Attempts, o.NextTime)
	}
	o.Apply(unbind.Retry(a, "UNAVAILABLE", next))
	o.Apply(unbind.Answered(a, report(platform.StageInReview, day1), next))
	if o.Attempts != 2 || o.Polls != 0 {
		t.Fatalf("attempts %d, polls %d; want 2, 0", o.Attempts, o.Polls)
	}
	want := []string{"QUEUED", "QUEUED RESOURCE_EXHAUSTED", "SENDING", "QUEUED UNAVAILABLE", "SENDING", "IN_REVIEW"}
	for i, s := range o.History {
		got := s.State.String()
		if s.Reason != "" {
			got += " " + s.Reason
		}
		if i >= len(want) || got != want[i] {
			t.Fatalf("history[%d] = %q, want %q", i, got, want)
		}
	}

	a.Polled = true
	later := next.Add(time.Hour)
	o.Apply(unbind.Answered(a, report(platform.StageInReview, day1), later))
	o.Apply(unbind.Retry(a, "UNAVAILABLE", later.Add(1)))
	if o.State != review || o.Attempts != 2 || o.Polls != 2 || !o.NextTime.Equal(later.Add(1)) || len(o.History) != len(want) {
		t.Fatalf("after two polls: %+v", o)
	}
	a.Polled = false // the platform did not know it: sent again
	o.Apply(unbind.Retry(a, "UNAVAILABLE", later.Add(2)))
	if o.State != review || o.Attempts != 3 || o.Polls != 0 || !o.NextTime.Equal(later.Add(2)) {
		t.Fatalf("after a resend: %+v", o)
	}
}

// TestLateWordKeepsNewerDetail: a late report of the same state does not bring an
// old page back.
func TestLateWordKeepsNewerDetail(t *testing.T) {
	o := inState(action)
	o.ActionURL, o.NextTime = "https://shop.example/new", day1.Add(time.Minute)
	o.Apply(unbind.Reported(day1.Add(time.Hour), report(platform.StageActionRequired, day1.Add(-time.Minute)), day1.Add(2*time.Hour)))
	if o.ActionURL != "https://shop.example/new" || !o.NextTime.Equal(day1.Add(time.Minute)) {
		t.Errorf("a late report changed the order: %q, %v", o.ActionURL, o.NextTime)
	}
}

// TestSameSecond: an answer to the hub's own question is the platform's latest
// word even where its clock tells no difference.
func TestSameSecond(t *testing.T) {
	o := inState(review)
	o.Apply(unbind.Answered(unbind.Attempt{Began: day1, Ended: day1, Polled: true}, report(platform.StageActionRequired, day1), day1))
	if o.State != action {
		t.Errorf("polled in the same second: %s", o.State)
	}
	o = inState(review)
	o.Apply(unbind.Reported(day1, report(platform.StageActionRequired, day1), day1))
	if o.State != review {
		t.Errorf("reported in the same second: %s", o.State)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	o := inState(queued)
	for i := range 500 {
		at := day1.Add(time.Duration(i) * time.Minute)
		o.Apply(unbind.Retry(unbind.Attempt{Began: at, Ended: at}, "UNAVAILABLE", at.Add(time.Minute)))
	}
	at := day1.Add(1000 * time.Hour)
	o.Apply(unbind.Answered(unbind.Attempt{Began: at, Ended: at}, report(platform.StageCompleted, at), time.Time{}))
	if len(o.History) != 64 {
		t.Fatalf("%d steps, want 64", len(o.History))
	}
	first, last := o.History[0], o.History[63]
	if first.State != queued || first.Reason != "" || !first.Time.Equal(day1) || o.History[1].State != sending || o.History[1].Attempt != 1 {
		t.Errorf("the first steps went: %+v", o.History[:2])
	}
	if last.State != completed || last.Attempt != 501 || o.History[62].State != sending {
		t.Errorf("the last steps went: %+v", o.History[62:])
	}
	if gap := o.History[40].Time.Sub(o.History[8].Time); gap < 200*time.Minute {
		t.Errorf("what is left between spans %v of 500 min", gap)
	}
	for i := 1; i < len(o.History); i++ {
		if o.History[i].Time.Before(o.History[i-1].Time) {
			t.Errorf("step %d is before the one ahead of it", i)
		}
	}
}

// TestRandomHistories: whatever comes in whatever order, a platform's word never
// lowers the rank, nothing leaves a final state, and an open order has a time at
// which the hub acts.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		o := inState(queued)
		now := day1
		for range 60 {
			now = now.Add(time.Duration(rnd.IntN(3600)) * time.Second)
			m := moves[rnd.IntN(len(moves))]
			before := o
			changed := o.Apply(m.t(now, now.Add(time.Duration(rnd.IntN(7200)-7200)*time.Second)))
			switch {
			case changed != (before.State != o.State):
				t.Fatalf("seed %d: %s: changed is %v from %s to %s", seed, m.name, changed, before.State, o.State)
			case before.State.Final() && in(before.State, m.from):
				// opened again, by a person or an operator
			case before.State.Final() && o.State != before.State:
				t.Fatalf("seed %d: %s left %s", seed, m.name, before.State)
			case o.State.Rank() < before.State.Rank():
				t.Fatalf("seed %d: %s lowered %s to %s", seed, m.name, before.State, o.State)
			case o.State.Final() != o.NextTime.IsZero():
				t.Fatalf("seed %d: %s: %s with next time %v", seed, m.name, o.State, o.NextTime)
			case o.Attempts < before.Attempts || o.ReportTime.Before(before.ReportTime) || len(o.History) > 64:
				t.Fatalf("seed %d: %s: %+v", seed, m.name, o)
			}
		}
	}
}

func TestNextTry(t *testing.T) {
	for _, tt := range []struct {
		attempt int
		rnd     float64
		want    time.Duration
	}{
		{0, 0, time.Second},
		{1, 0, time.Second},
		{1, 0.5, 750 * time.Millisecond},
		{2, 0, 2 * time.Second},
		{10, 0, 512 * time.Second},
		{11, 0, 15 * time.Minute},
		{1 << 30, 0, 15 * time.Minute},
		{11, 0.999999999, 7*time.Minute + 30*time.Second},
	} {
		got := unbind.NextTry(day1, tt.attempt, tt.rnd).Sub(day1)
		if d := got - tt.want; d < 0 || d > time.Millisecond {
			t.Errorf("NextTry(%d, %v) = %v, want %v", tt.attempt, tt.rnd, got, tt.want)
		}
	}
}

func TestNextPoll(t *testing.T) {
	for _, tt := range []struct {
		polls int
		wish  time.Duration
		want  time.Duration
	}{
		{0, 0, 2 * time.Second},
		{3, 0, 16 * time.Second},
		{10, 0, 2048 * time.Second},
		{11, 0, time.Hour},
		{1 << 30, 0, time.Hour},
		{5, time.Minute, time.Minute},
		{5, -1, 64 * time.Second},
	} {
		if got := unbind.NextPoll(day1, tt.polls, tt.wish).Sub(day1); got != tt.want {
			t.Errorf("NextPoll(%d, %v) = %v, want %v", tt.polls, tt.wish, got, tt.want)
		}
	}
}
