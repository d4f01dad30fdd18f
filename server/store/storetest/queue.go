package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

var queueCases = map[string]func(*fixture){
	"EnqueueIsDurableAndIdempotent": enqueueIdempotent,
	"EnqueueRepeatInParallel":       enqueueRepeatInParallel,
	"StandingOrder":                 standingOrder,
	"OrdersPerDayInPart":            ordersPerDayInPart,
	"OrdersPerDayWhole":             ordersPerDayWhole,
	"OrdersOf":                      ordersOf,
}

// order is a fresh order that is due at a time.
func (f *fixture) order(p person, at platform.ID, due time.Time, refs ...string) *unbind.Order {
	o := unbind.New(seal.NewID(due), due, due.Add(120*time.Hour), unbind.Order{
		Platform: at, Subject: p.subject, NumberIndex: p.index, Number: p.number, AccountRefs: refs,
		BoundBefore: f.now.Add(-3000 * time.Hour), HolderChecked: due,
	})
	return &o
}

func item(o *unbind.Order) unbind.Item { return unbind.Item{Platform: o.Platform, Order: o} }

// request asks for orders without any limit. Every request has an id of its own.
func (f *fixture) request(p person, items ...unbind.Item) unbind.Enqueue {
	return unbind.Enqueue{
		Subject: p.subject, NumberIndex: p.index, RequestKey: [32]byte(seal.Token(32)), BodyDigest: sum("body"), Now: f.now, Items: items,
	}
}

func (f *fixture) enqueue(e unbind.Enqueue) []unbind.Placed {
	f.Helper()
	placed, err := f.Enqueue(f.ctx, e)
	f.ok(err)
	if len(placed) != len(e.Items) {
		f.Fatalf("%d items placed, want %d", len(placed), len(e.Items))
	}
	return placed
}

// queued enqueues orders of as many people as there are orders, so that none
// stands for another, and returns their ids.
func (f *fixture) queued(at platform.ID, due ...time.Time) []string {
	f.Helper()
	ids := make([]string, len(due))
	for i, d := range due {
		p := f.alice()
		p.subject = sum("subject", seal.NewID(d))
		o := f.order(p, at, d, "ref")
		f.enqueue(f.request(p, item(o)))
		ids[i] = o.ID
	}
	return ids
}

func (f *fixture) orderOf(p person, id string) unbind.Order {
	f.Helper()
	o, err := f.Order(f.ctx, p.subject, id)
	f.ok(err)
	return o
}

func enqueueIdempotent(f *fixture) {
	a := f.alice()
	shop, bank := f.order(a, "shop", f.now, "r1", "r2"), f.order(a, "bank", f.now, "r3")
	e := f.request(a, item(shop), unbind.Item{Platform: "video", Reason: fault.NotLookedUp}, item(bank))
	placed := f.enqueue(e) // which sets the orders' Run
	want := []unbind.Placed{{Platform: "shop", Order: *shop}, {Platform: "video", Reason: fault.NotLookedUp}, {Platform: "bank", Order: *bank}}
	f.same("placed", placed, want)
	f.reopen()

	again := e
	again.Items = []unbind.Item{item(f.order(a, "shop", f.now, "r1", "r2")), {Platform: "video"}, item(f.order(a, "bank", f.now, "r3"))}
	f.same("repeat", f.enqueue(again), want)
	f.same("order", f.orderOf(a, shop.ID), *shop)
	again.BodyDigest = sum("another body")
	_, err := f.Enqueue(f.ctx, again)
	f.refused(err, fault.RequestIDReused)
	_, err = f.Order(f.ctx, f.carol().subject, shop.ID) // the next holder of the number
	f.refused(err, fault.UnbindNotFound)
	_, err = f.Order(f.ctx, a.subject, seal.NewID(f.now))
	f.refused(err, fault.UnbindNotFound)
}

func enqueueRepeatInParallel(f *fixture) {
	a := f.alice()
	key := sum("request")
	ids := make([]string, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			e := f.request(a, item(f.order(a, "shop", f.now, fmt.Sprint(i))))
			e.RequestKey = key
			placed, err := f.Enqueue(f.ctx, e)
			if err != nil || len(placed) != 1 {
				f.Errorf("placed %v, error %v", placed, err)
				return
			}
			ids[i] = placed[0].Order.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		f.same("id", id, ids[0])
	}
}

// standingOrder: an open order that covers the accounts stands for a new one.
func standingOrder(f *fixture) {
	a, c := f.alice(), f.carol()
	place := func(p person, at platform.ID, refs ...string) string {
		f.Helper()
		return f.enqueue(f.request(p, item(f.order(p, at, f.now, refs...))))[0].Order.ID
	}
	first := place(a, "shop", "r1", "r2")
	f.reopen()
	f.same("fewer accounts", place(a, "shop", "r2"), first)
	if id := place(a, "bank", "r1"); id == first {
		f.Error("an order stood for one at another platform")
	}
	if id := place(c, "shop", "r1"); id == first {
		f.Error("an order stood for another person's")
	}
	wider := place(a, "shop", "r1", "r3")
	if wider == first {
		f.Error("an order stood for one of more accounts")
	}
	f.reopen()
	f.same("the wider order", place(a, "shop", "r3"), wider)
	_, _, err := f.Report(f.ctx, "shop", first, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	f.same("after the end of the older", place(a, "shop", "r3"), wider)
	_, _, err = f.Report(f.ctx, "shop", wider, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	f.reopen()
	if id := place(a, "shop", "r3"); id == wider {
		f.Error("an order that has ended stood for a new one")
	}
	// Twice in one request is one order.
	x, y := f.order(f.bob(), "shop", f.now, "r1"), f.order(f.bob(), "shop", f.now, "r1")
	placed := f.enqueue(f.request(f.bob(), item(x), item(y)))
	f.same("twice in one request", placed[1].Order.ID, placed[0].Order.ID)
}

func ordersPerDayInPart(f *fixture) {
	a, c := f.alice(), f.carol()
	e := f.request(a, item(f.order(a, "a1", f.now, "r")), item(f.order(a, "a2", f.now, "r")))
	e.DailyLimit = 3
	f.enqueue(e)
	f.reopen()
	// The limit is the number's: another person on it shares it. A standing order
	// costs nothing.
	e = f.request(c, item(f.order(c, "a1", f.now, "r")), item(f.order(c, "a2", f.now, "r")))
	e.DailyLimit = 3
	placed := f.enqueue(e)
	f.same("first", placed[0].Reason, fault.Reason(""))
	f.same("second", placed[1].Reason, fault.DailyLimit)
	f.same("no order", placed[1].Order.ID, "")
	e = f.request(a, item(f.order(a, "a1", f.now, "r")), item(f.order(a, "a3", f.now, "r")))
	e.DailyLimit = 3
	placed = f.enqueue(e)
	f.same("standing", placed[0].Reason, fault.Reason(""))
	f.same("over the limit", placed[1].Reason, fault.DailyLimit)
}

func ordersPerDayWhole(f *fixture) {
	a := f.alice()
	e := f.request(a, item(f.order(a, "a1", f.now, "r")))
	e.DailyLimit = 1
	f.enqueue(e)
	f.reopen()
	o := f.order(a, "a2", f.now, "r")
	e = f.request(a, item(o), unbind.Item{Platform: "a3", Reason: fault.NotLookedUp})
	e.DailyLimit, e.Now = 1, f.now.Add(time.Hour)
	_, err := f.Enqueue(f.ctx, e)
	f.same("retry", f.fault(err, fault.DailyLimit).RetryAfter, 23*time.Hour)
	_, err = f.Order(f.ctx, a.subject, o.ID)
	f.refused(err, fault.UnbindNotFound)
	// The refused request did not use its id up.
	f.reopen()
	e.Now, e.BodyDigest = f.now.Add(24*time.Hour), sum("another body")
	f.same("next day", f.enqueue(e)[0].Order.ID, o.ID)
}

func ordersOf(f *fixture) {
	a := f.alice()
	var want []string
	for i := range 5 {
		o := f.order(a, platform.ID(fmt.Sprint("shop", i)), f.now.Add(time.Duration(i)*time.Second), "r")
		f.enqueue(f.request(a, item(o)))
		want = append([]string{o.ID}, want...)
	}
	f.queued("shop", f.now)
	f.reopen()
	list := func(before string, limit int) []string {
		f.Helper()
		orders, err := f.OrdersOf(f.ctx, a.subject, before, limit)
		f.ok(err)
		ids := []string{}
		for _, o := range orders {
			ids = append(ids, o.ID)
		}
		return ids
	}
	f.same("all", list("", 10), want)
	f.same("first page", list("", 2), want[:2])
	f.same("second page", list(want[1], 2), want[2:4])
	f.same("last page", list(want[3], 2), want[4:])
	f.same("after the last", list(want[4], 2), []string{})
	none, err := f.OrdersOf(f.ctx, sum("nobody"), "", 10)
	f.ok(err)
	f.same("nobody's", len(none), 0)
}
