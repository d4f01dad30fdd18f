package lookup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// outbox takes the messages that late answers are in.
type outbox struct {
	mu   sync.Mutex
	sent []string // the number and the time of the lookup
	err  error
}

func (o *outbox) LateAnswersIn(_ context.Context, to phone.Number, asked time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, to.E164()+" "+asked.UTC().Format(time.RFC3339))
	return o.err
}

func (o *outbox) count() int {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.sent)
}

// carrier says what its fields say.
type carrier struct {
	mu     sync.Mutex
	change platform.HolderChange
	err    error
	asked  []time.Time // the since of each question
}

func (c *carrier) Attest(context.Context, phone.Number, phone.IDSuffix) (platform.Attestation, time.Time, error) {
	return platform.AttestUnknown, time.Time{}, nil
}

func (c *carrier) CheckHolder(_ context.Context, _ phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, since)
	return c.change, time.Time{}, c.err
}

func (c *carrier) say(change platform.HolderChange, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change, c.err = change, err
}

func TestHolderChanged(t *testing.T) {
	flaky := newFlaky("flaky")
	telco := new(carrier)
	inLate(t, func(h *hub) { h.carrier = telco }, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		telco.say(platform.ChangeHands, nil)
		time.Sleep(30 * time.Minute)
		flaky.comeBack()
		n := len(flaky.questions())
		time.Sleep(40 * time.Hour)
		got := h.get(r, l.ID)
		if h.outbox.count() != 0 || !got.Number.IsZero() {
			h.Errorf("%d messages to the next holder, number %v", h.outbox.count(), got.Number)
		}
		if len(flaky.questions()) > n+1 { // one within the first hour
			h.Errorf("asked %d times after the number changed hands", len(flaky.questions())-n)
		}
		telco.mu.Lock()
		defer telco.mu.Unlock()
		if len(telco.asked) == 0 || !telco.asked[0].Equal(l.CreateTime) {
			h.Errorf("the carrier was asked about %v", telco.asked)
		}
	}, flaky.peer)
}

// TestHolderChangedLater: within the first hours the number is asked about, then
// it changes hands: no platform hears of it any more.
func TestHolderChangedLater(t *testing.T) {
	dead := newFlaky("dead")
	telco := &carrier{change: platform.ChangeNone}
	inLate(t, func(h *hub) { h.carrier = telco }, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(5 * time.Hour)
		n := len(dead.questions())
		if n < 8 {
			h.Errorf("asked %d times in 5 hours", n)
		}
		telco.say(platform.ChangeHands, nil)
		time.Sleep(10 * time.Hour)
		if got := h.get(r, l.ID); len(dead.questions()) != n || !got.Number.IsZero() {
			h.Errorf("asked %d times more, number %v", len(dead.questions())-n, got.Number)
		}
	}, dead.peer)
}

// TestCarrierOutOfReach: without its word nobody is told; with it, once. NO_DATA
// is no change.
func TestCarrierOutOfReach(t *testing.T) {
	flaky := newFlaky("flaky")
	telco := &carrier{err: &platform.CallError{Code: "UNAVAILABLE"}}
	inLate(t, func(h *hub) { h.carrier = telco }, func(h *hub, restart func()) {
		r := h.request("alice")
		l := h.start(r)
		flaky.comeBack()
		time.Sleep(2 * time.Hour)
		h.states(h.get(r, l.ID), true, platform.Bound)
		if h.outbox.count() != 0 {
			h.Error("a message without the carrier's word")
		}
		restart()
		telco.say(platform.ChangeNoData, nil)
		time.Sleep(time.Hour)
		if h.outbox.count() != 1 {
			h.Errorf("%d messages", h.outbox.count())
		}
	}, flaky.peer)
	dead := newFlaky("flaky")
	telco.say(platform.ChangeNoData, &platform.CallError{Code: "UNAVAILABLE"})
	inLate(t, func(h *hub) { h.carrier = telco }, func(h *hub, _ func()) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(3 * time.Hour)
		n := len(dead.questions())
		dead.comeBack()
		time.Sleep(time.Hour)
		if len(dead.questions()) != n {
			h.Error("asked although nobody knows whose number it is")
		}
		telco.say(platform.ChangeNone, nil)
		time.Sleep(11 * time.Minute)
		h.states(h.get(r, l.ID), true, platform.Bound)
	}, dead.peer)
}

// TestMessageFails: a message is claimed before it leaves, and never tried again.
func TestMessageFails(t *testing.T) {
	flaky := newFlaky("flaky")
	inLate(t, nil, func(h *hub, restart func()) {
		h.outbox.err = errors.New("no credit")
		h.start(h.request("alice"))
		flaky.comeBack()
		time.Sleep(time.Hour)
		restart()
		time.Sleep(30 * time.Hour)
		if h.outbox.count() != 1 {
			h.Errorf("%d messages", h.outbox.count())
		}
	}, flaky.peer)
}

// TestMessagesPerDay: whoever lets platforms stay silent can't make a number
// ring all day.
func TestMessagesPerDay(t *testing.T) {
	flaky := newFlaky("flaky")
	inLate(t, nil, func(h *hub, _ func()) {
		for range 5 {
			h.start(h.request("alice"))
		}
		flaky.comeBack()
		time.Sleep(time.Hour)
		if h.outbox.count() != 3 {
			h.Errorf("%d messages, want 3", h.outbox.count())
		}
	}, flaky.peer)
}
