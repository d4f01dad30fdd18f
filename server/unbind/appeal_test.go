package unbind_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// appeal is a person's appeal; the error has that reason, "" for none.
func (h *hub) appeal(o unbind.Order, nth int, reason fault.Reason) unbind.Order {
	h.Helper()
	got, err := h.service.Appeal(h.Context(), o.Subject, o.ID, nth)
	if reason == "" && err != nil || reason != "" && !errors.Is(err, reason) {
		h.Fatalf("appeal %d: %v, want %q", nth, err, reason)
	}
	return got
}

// grants refuses until the appeal that it grants.
func grants(appeals int) *peer {
	p := &peer{id: "shop"}
	p.unbind = func(context.Context, int) (platform.Report, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sent[len(p.sent)-1].Appeal >= appeals {
			return report(platform.StageCompleted, time.Now()), nil
		}
		return report(platform.StageRefused, time.Now()), nil
	}
	return p
}

func TestAppealIsSentAsOne(t *testing.T) {
	shop := grants(2)
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		h.state(look(), refused)
		time.Sleep(10 * 24 * time.Hour)
		for n := 1; n <= 2; n++ {
			o := h.appeal(look(), n, "")
			if o.State != unbind.Appealed && o.State != unbind.Sending || !o.DueTime.Equal(time.Now().Add(120*time.Hour)) || o.Appeals != n {
				h.Errorf("%s, due %v, %d appeals", o.State, o.DueTime, o.Appeals)
			}
			look()
			if again := h.appeal(look(), n, ""); again.Appeals != n { // its answer was lost
				h.Errorf("a repeat made %d appeals of %d", again.Appeals, n)
			}
			if n == 1 {
				h.state(look(), refused)
				h.restart()
			}
		}
		o := look()
		h.state(o, completed)
		sent, _ := shop.calls()
		for i, c := range sent {
			if c.OrderID != o.ID || c.Appeal != i || c.Attempt != i+1 || len(c.AccountRefs) != 1 || !c.BoundBefore.Equal(holderSince) {
				h.Errorf("call %d: %+v", i, c.UnbindOrder)
			}
		}
		if len(sent) != 3 {
			h.Errorf("sent %d times", len(sent))
		}
		h.appeal(o, 0, fault.AlreadyTerminal)
	}, shop)
}

// Which appeal it is decides whether it counts: none ahead of time, none twice,
// none beyond the last.
func TestWhichAppeal(t *testing.T) {
	shop := grants(99)
	inHub(t, func(h *hub) {
		waiting := h.place("bob", "bank") // which has not joined
		for nth, reason := range map[int]fault.Reason{0: fault.NotRefused, 1: fault.NotRefused, 2: fault.NotRefused, 3: fault.AppealLimit} {
			h.appeal(waiting(), nth, reason)
		}
		look := h.place("alice", "shop")
		h.state(look(), refused)
		for nth, reason := range map[int]fault.Reason{2: fault.NotRefused, 3: fault.AppealLimit, -1: ""} {
			h.appeal(look(), nth, reason)
		}
		if o := look(); o.Appeals != 0 {
			h.Fatalf("%d appeals", o.Appeals)
		}
		h.appeal(look(), 0, "")
		h.appeal(look(), 0, "")
		h.state(look(), refused)
		for nth, reason := range map[int]fault.Reason{0: fault.AppealLimit, 1: "", 2: "", 3: fault.AppealLimit} {
			h.appeal(look(), nth, reason)
		}
		stranger := look()
		stranger.Subject = phone.Subject{1}
		for nth := range 4 {
			h.appeal(stranger, nth, fault.UnbindNotFound)
		}
		if sent, _ := shop.calls(); len(sent) != 3 || look().Appeals != 2 {
			h.Errorf("sent %d times, %d appeals", len(sent), look().Appeals)
		}
	}, shop)
}

// The number may have changed hands since the refusal: then the platform hears
// nothing of the appeal.
func TestAppealAsksForTheHolder(t *testing.T) {
	c, shop := &carrier{change: platform.ChangeNone}, grants(1)
	inHub(t, func(h *hub) {
		h.withCarrier(c)
		look := h.place("alice", "shop")
		h.state(look(), refused)
		c.say(platform.ChangeHands, nil)
		h.appeal(look(), 1, "")
		o := look()
		h.state(o, cancelled)
		if sent, _ := shop.calls(); len(sent) != 1 || o.History[len(o.History)-1].Reason != "HOLDER_CHANGED" {
			h.Errorf("sent %d times; %+v", len(sent), o.History)
		}
	}, shop)
}

// Who waits for the order hears of the appeal, and of what becomes of it.
func TestAppealEndsAWait(t *testing.T) {
	shop := grants(1)
	inHub(t, func(h *hub) {
		look := h.place("alice", "shop")
		h.state(look(), refused)
		h.join()
		o := h.appeal(look(), 1, "")
		h.state(o, unbind.Appealed)
		changed := make(chan unbind.Order, 1)
		go func() {
			got, err := h.service.Wait(h.Context(), o.Subject, o.ID, time.Hour)
			h.check(err)
			changed <- got
		}()
		synctest.Wait()
		h.join(shop)
		if got := <-changed; got.State != sending && got.State != completed {
			h.Errorf("the wait ended with %s", got.State)
		}
		h.state(look(), completed)
	}, shop)
}

// TestAppealOvertakesAnAttempt: the answer to an attempt that began before the
// appeal is of the decision appealed against, whatever it is and however long it
// wants the hub to wait; only that all is done counts.
func TestAppealOvertakesAnAttempt(t *testing.T) {
	late := report(platform.StageInReview, time.Time{})
	late.CheckAfter = 24 * time.Hour
	for name, tt := range map[string]struct {
		answer platform.Report
		err    error
		sent   int
	}{
		"refused":   {report(platform.StageRefused, time.Time{}), nil, 2},
		"in review": {late, nil, 2},
		"put off":   {platform.Report{}, &platform.CallError{Code: platform.CodeResourceExhausted, RetryAfter: 24 * time.Hour}, 2},
		"no answer": {platform.Report{}, &platform.CallError{Code: "INTERNAL"}, 2},
		"disowned":  {platform.Report{}, &platform.CallError{Code: platform.CodeAlreadyExists}, 2},
		"completed": {report(platform.StageCompleted, time.Time{}), nil, 1},
	} {
		shop := &peer{id: "shop"}
		shop.unbind = func(_ context.Context, n int) (platform.Report, error) {
			if n > 0 {
				return report(platform.StageCompleted, time.Now()), nil
			}
			time.Sleep(5 * time.Second)
			r := tt.answer
			r.Time = time.Now()
			return r, tt.err
		}
		inHub(t, func(h *hub) {
			look := h.place("alice", "shop")
			o := look()
			_, _, err := h.service.Report(h.Context(), "shop", o.ID, report(platform.StageRefused, time.Now()))
			h.check(err)
			time.Sleep(time.Second)
			h.appeal(look(), 1, "")
			time.Sleep(10 * time.Second)
			o = look()
			h.state(o, completed)
			sent, _ := shop.calls()
			if len(sent) != tt.sent || tt.sent == 2 && (sent[1].Appeal != 1 || sent[1].Attempt < sent[0].Attempt) {
				h.Errorf("%s: sent %+v", name, sent)
			}
			for i := 1; i < len(o.History); i++ {
				if o.History[i].Time.Before(o.History[i-1].Time) {
					h.Errorf("%s: step %d is before the one ahead of it: %+v", name, i, o.History)
				}
			}
		}, shop)
	}
}

// TestOldRefusalAfterAnAppeal: a late repeat of the refusal does not end the appeal,
// with the platform's time or without one, whatever state the appeal is in.
func TestOldRefusalAfterAnAppeal(t *testing.T) {
	now := day1.Add(time.Hour)
	for _, in := range []unbind.State{appealed, review, action} {
		o := inState(refused)
		o.Apply(unbind.AppealedByPerson(now, now.Add(time.Hour), 1))
		o.State = in
		later := now.Add(time.Hour)
		untimed := func(stage platform.Stage) platform.Report {
			r := report(stage, later)
			r.Untimed = true
			return r
		}
		for _, stage := range []platform.Stage{platform.StageRefused, platform.StageInReview, platform.StageActionRequired} {
			for _, r := range []platform.Report{untimed(stage), report(stage, day1), report(stage, day1.Add(time.Second)), report(stage, now)} {
				if next := o.NextTime; o.Apply(unbind.Reported(later, r, later.Add(time.Hour))) || o.State != in || !o.NextTime.Equal(next) {
					t.Fatalf("%s: %+v moved it to %s, next %v", in, r, o.State, o.NextTime)
				}
			}
		}
		refusal, done := o, o
		if !refusal.Apply(unbind.Reported(later, report(platform.StageRefused, now.Add(time.Second)), later)) || refusal.State != refused {
			t.Errorf("%s: the refusal of the appeal left it %s", in, refusal.State)
		}
		if !done.Apply(unbind.Reported(later, untimed(platform.StageCompleted), later)) || done.State != completed {
			t.Errorf("%s: a completion without a time left it %s", in, done.State)
		}
	}
	o := inState(queued)
	r := report(platform.StageRefused, now)
	r.Untimed = true
	if !o.Apply(unbind.Reported(now, r, now)) {
		t.Error("a refusal without a time does not count where nobody has appealed")
	}
}

// TestChangeOfHandsIsNotForgotten: what the carrier said holds also where a report
// took the order on in the meantime, so that an older word of it does not do.
func TestChangeOfHandsIsNotForgotten(t *testing.T) {
	for name, change := range map[string]unbind.Transition{"before": unbind.HolderChanged(day1), "again": unbind.Forgotten(day1)} {
		for _, s := range open {
			o := inState(s)
			o.HolderChecked = day1
			if o.Apply(change); !o.HolderChecked.IsZero() {
				t.Errorf("checked %s sending, %s: the carrier's word of %v stands", name, s, o.HolderChecked)
			}
		}
	}
}
