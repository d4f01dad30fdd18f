package unbind_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// delayed is an order that waits until its platform joins after d; the carrier
// is asked about its holder then.
func delayed(t *testing.T, c *carrier, d time.Duration, story func(h *hub, shop *peer, look func() orderNow)) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	inHub(t, func(h *hub) {
		h.withCarrier(c)
		look := h.place("alice", "shop")
		time.Sleep(d)
		h.join(shop)
		story(h, shop, func() orderNow {
			o := look()
			sent, _ := shop.calls()
			return orderNow{Order: o, sent: len(sent)}
		})
	})
}

func TestHolderChanged(t *testing.T) {
	c := &carrier{change: platform.ChangeHands}
	delayed(t, c, time.Millisecond, func(h *hub, _ *peer, look func() orderNow) {
		o := look()
		h.state(o.Order, cancelled)
		if o.sent != 0 || o.Attempts != 0 || o.History[len(o.History)-1].Reason != "HOLDER_CHANGED" {
			h.Errorf("sent %d times; %+v", o.sent, o.History)
		}
		if len(c.asked) != 1 || !c.asked[0].Equal(holderSince) {
			h.Errorf("the carrier was asked since %v", c.asked)
		}
	})
}

func TestHolderUnchanged(t *testing.T) {
	c := &carrier{change: platform.ChangeNone}
	delayed(t, c, 100*time.Hour, func(h *hub, _ *peer, look func() orderNow) {
		o := look()
		h.state(o.Order, completed)
		if !o.HolderChecked.Equal(time.Now()) {
			h.Errorf("holder checked at %v", o.HolderChecked)
		}
	})
}

// TestCarrierDown: a carrier that can't be asked stops nothing for a day, and
// everything after that until it is back.
func TestCarrierDown(t *testing.T) {
	down := &carrier{err: errors.New("down")}
	delayed(t, down, 24*time.Hour-1, func(h *hub, _ *peer, look func() orderNow) {
		h.state(look().Order, completed)
	})
	for name, c := range map[string]*carrier{"down": {err: errors.New("down")}, "no data": {change: platform.ChangeNoData}} {
		delayed(t, c, 24*time.Hour, func(h *hub, _ *peer, look func() orderNow) {
			for range 3 {
				o := look()
				h.state(o.Order, queued)
				if o.sent != 0 || o.Attempts != 0 || !o.NextTime.Equal(time.Now().Add(10*time.Minute)) {
					h.Fatalf("%s: sent %d times, next at %v", name, o.sent, o.NextTime)
				}
				time.Sleep(10 * time.Minute)
			}
			c.say(platform.ChangeNone, nil)
			time.Sleep(10 * time.Minute)
			h.state(look().Order, completed)
		})
	}
}

// TestRetriesAskAgain: an order that is tried for long is checked again, and ends
// when the number changes hands between two attempts.
func TestRetriesAskAgain(t *testing.T) {
	c := &carrier{change: platform.ChangeNone}
	shop := &peer{id: "shop", unbind: failing(99, platform.CallError{Code: "UNAVAILABLE"}, nil)}
	inHub(t, func(h *hub) {
		h.withCarrier(c)
		look := h.place("alice", "shop")
		time.Sleep(3 * time.Minute)
		h.state(look(), queued)
		before, _ := shop.calls()
		c.say(platform.ChangeHands, nil)
		time.Sleep(30 * time.Minute)
		h.state(look(), cancelled)
		after, _ := shop.calls()
		if len(after) > len(before)+1 { // one more may lie within the minute of the last word
			h.Errorf("sent %d times after the number changed hands", len(after)-len(before))
		}
	}, shop)
}

// TestForgottenIsCheckedAgain: an order that its platform forgot is sent again
// only when the number is still the person's.
func TestForgottenIsCheckedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change platform.HolderChange
		err    error
		sent   int
		state  unbind.State
	}{
		"unchanged": {change: platform.ChangeNone, sent: 2, state: review},
		"changed":   {change: platform.ChangeHands, sent: 1, state: cancelled},
		"down":      {err: errors.New("down"), sent: 1, state: review},
	} {
		said := &carrier{change: platform.ChangeNone}
		shop := &peer{id: "shop", unbind: says(platform.StageInReview)}
		shop.status = failing(1, platform.CallError{Code: platform.CodeNotFound}, says(platform.StageInReview))
		inHub(t, func(h *hub) {
			h.withCarrier(said)
			h.join()
			look := h.place("alice", "shop")
			h.join(shop)
			h.state(look(), review)
			h.join()
			time.Sleep(25 * time.Hour)
			said.say(c.change, c.err)
			h.join(shop)
			o := look()
			if sent, _ := shop.calls(); o.State != c.state || len(sent) != c.sent {
				h.Errorf("%s: %s, sent %d times; want %s, %d", name, o.State, len(sent), c.state, c.sent)
			}
		}, shop)
	}
}

// TestReopenedIsNotTooOld: the age at which an order is given up counts anew when
// it is opened again, and its holder is checked like any other's.
func TestReopenedIsNotTooOld(t *testing.T) {
	said := &carrier{change: platform.ChangeNone}
	shop := &peer{id: "shop", unbind: says(platform.StageRefused)}
	inHub(t, func(h *hub) {
		h.withCarrier(said)
		look := h.place("alice", "shop")
		o := look()
		h.state(o, refused)
		time.Sleep(29 * 24 * time.Hour)
		shop.mu.Lock()
		shop.unbind = failing(9999, platform.CallError{Code: "UNAVAILABLE"}, nil)
		shop.mu.Unlock()
		_, err := h.store.Appeal(h.Context(), o.Subject, o.ID, unbind.AppealedByPerson(time.Now(), time.Now().Add(120*time.Hour)))
		h.check(err)
		h.service.Wake()
		time.Sleep(2 * 24 * time.Hour)
		h.state(look(), appealed)
		said.say(platform.ChangeHands, nil)
		time.Sleep(time.Hour)
		h.state(look(), cancelled)
	}, shop)
}
