package unbind_test

import (
	"context"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// TestRateIsKept: a platform gets its orders at its rate, oldest due first, also
// when the hub is started again in between.
func TestRateIsKept(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	const n = 300
	inHub(t, func(h *hub) {
		h.join()
		for i, batch := range []string{"first", "second", "third"} {
			h.placeMany(batch, n/3, "shop")
			if i < 2 {
				time.Sleep(time.Second)
			}
		}
		h.join(shop)
		time.Sleep(2 * time.Second)
		h.restart()
		time.Sleep(10 * time.Second)
		sent, _ := shop.calls()
		if len(sent) != n {
			h.Fatalf("%d of %d orders were sent", len(sent), n)
		}
		due := sent[0].DueTime
		for i, c := range sent {
			if c.DueTime.Before(due) {
				h.Fatalf("order %d was due before the one that went before", i)
			}
			due = c.DueTime
		}
		h.keptRate(sent)
		if took := sent[n-1].at.Sub(sent[0].at); took > 7*time.Second {
			h.Errorf("%d orders took %v", n, took)
		}
	}, shop)
}

// TestPollsLeaveRoom: more orders are in review than can be asked about as often
// as the platform wishes. A new order hardly waits, and each of the old ones
// still gets its turn.
func TestPollsLeaveRoom(t *testing.T) {
	eager := func(context.Context, int) (platform.Report, error) {
		r := report(platform.StageInReview, time.Now())
		r.CheckAfter = time.Second
		return r, nil
	}
	shop := &peer{id: "shop", unbind: eager, status: eager}
	const n = 100
	inHub(t, func(h *hub) {
		h.stop()
		h.options.PerSecond = 5 // in turn, each would wait for 20 s
		h.run()
		h.placeMany("waits", n, "shop")
		time.Sleep(3 * time.Minute)
		_, before := shop.calls()
		look := h.place("new", "shop")
		time.Sleep(10 * time.Second)
		h.state(look(), review)
		time.Sleep(4 * time.Minute)
		_, after := shop.calls()
		asked := make(map[string]bool)
		for _, c := range after[len(before):] {
			asked[c.OrderID] = true
		}
		if len(asked) < n {
			h.Errorf("%d of %d orders in review were asked about in four minutes", len(asked), n)
		}
	}, shop)
}
