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
