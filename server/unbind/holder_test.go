package unbind_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/phone"
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

// hangingCarrier answers nothing for as long as it may.
type hangingCarrier struct{ carrier }

func (c *hangingCarrier) CheckHolder(ctx context.Context, n phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	_, _, _ = c.carrier.CheckHolder(ctx, n, since)
	<-ctx.Done()
	return platform.ChangeNoData, time.Time{}, &platform.CallError{Code: "DEADLINE_EXCEEDED"}
}

// TestHangingCarrier: a carrier that gives no answer holds up the orders that
// find it out, and no other; it is not asked for each of them.
func TestHangingCarrier(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	c := new(hangingCarrier)
	inHub(t, func(h *hub) {
		h.stop()
		h.options.Carrier = c
		h.run()
		h.join()
		looks := h.placeMany("waits", 100, "shop")
		h.join(shop)
		time.Sleep(5*time.Second + 3*time.Second)
		done := 0
		for _, look := range looks {
			if look().State == completed {
				done++
			}
		}
		if done < 99 { // one asks whether the carrier is back
			h.Errorf("%d of 100 orders were completed", done)
		}
		time.Sleep(time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.asked) > 4+2 {
			h.Errorf("the carrier was asked %d times", len(c.asked))
		}
	}, shop)
}

// fewFail is a carrier that can't be asked by the first so many.
type fewFail struct {
	carrier
	left int
}

func (c *fewFail) CheckHolder(context.Context, phone.Number, time.Time) (platform.HolderChange, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left >= 0 {
		return platform.ChangeNoData, time.Time{}, errors.New("down")
	}
	return platform.ChangeNone, time.Time{}, nil
}

// TestStaleOrdersStillAsk: an order whose check is too old asks while the carrier
// gave no answer to others: its number may be of a carrier that does.
func TestStaleOrdersStillAsk(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	inHub(t, func(h *hub) {
		h.stop()
		h.options.Carrier = &fewFail{left: 4}
		h.run()
		h.join()
		looks := h.placeMany("waits", 6, "shop")
		time.Sleep(25 * time.Hour)
		h.join(shop)
		time.Sleep(500 * time.Millisecond)
		done := 0
		for _, look := range looks {
			if look().State == completed {
				done++
			}
		}
		if done != 2 {
			h.Errorf("%d orders were completed, want 2", done)
		}
	}, shop)
}

// TestAppealedIsChecked: an appeal is sent only while the number is the person's.
func TestAppealedIsChecked(t *testing.T) {
	c := &carrier{change: platform.ChangeNone}
	shop := &peer{id: "shop", unbind: says(platform.StageRefused)}
	inHub(t, func(h *hub) {
		h.withCarrier(c)
		look := h.place("alice", "shop")
		o := look()
		h.state(o, refused)
		c.say(platform.ChangeHands, nil)
		_, err := h.store.Appeal(h.Context(), o.Subject, o.ID, unbind.AppealedByPerson(time.Now(), time.Now().Add(time.Hour), 0))
		h.check(err)
		h.service.Wake()
		h.state(look(), cancelled)
		if sent, _ := shop.calls(); len(sent) != 1 {
			h.Errorf("sent %d times", len(sent))
		}
	}, shop)
}

// TestForgottenIsChecked: what a platform took and forgot is not sent again for a
// person who does not hold the number any more, nor as long as nobody knows.
func TestForgottenIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		change platform.HolderChange
		err    error
		state  unbind.State
		sent   int
	}{
		"changed hands": {platform.ChangeHands, nil, cancelled, 1},
		"not known":     {platform.ChangeNoData, errors.New("down"), review, 1},
		"unchanged":     {platform.ChangeNone, nil, completed, 2},
	} {
		c := &carrier{change: platform.ChangeNone}
		shop := &peer{id: "shop"}
		shop.unbind = func(_ context.Context, n int) (platform.Report, error) {
			stage := platform.StageInReview
			if n > 0 {
				stage = platform.StageCompleted
			}
			r := report(stage, time.Now())
			r.CheckAfter = 24 * time.Hour
			return r, nil
		}
		shop.status = failing(99, platform.CallError{Code: platform.CodeNotFound}, nil)
		inHub(t, func(h *hub) {
			h.withCarrier(c)
			look := h.place("alice", "shop")
			h.state(look(), review)
			c.say(tt.change, tt.err)
			time.Sleep(25 * time.Hour)
			h.state(look(), tt.state)
			sent, polled := shop.calls()
			if len(sent) != tt.sent || len(polled) > 7 {
				h.Errorf("%s: sent %d times, asked %d times", name, len(sent), len(polled))
			}
		}, shop)
	}
}
