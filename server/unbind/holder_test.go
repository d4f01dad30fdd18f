package unbind_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
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
