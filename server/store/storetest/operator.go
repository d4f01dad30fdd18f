package storetest

import (
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var operatorCases = map[string]func(*fixture){
	"Pauses":           pauses,
	"OpenOrders":       openOrders,
	"OpenOrderPages":   openOrderPages,
	"OpenOrdersSealed": openOrdersSealed,
}

func pauses(f *fixture) {
	list := func() []unbind.Pause {
		f.Helper()
		all, err := f.Pauses(f.ctx)
		f.ok(err)
		slices.SortFunc(all, func(a, b unbind.Pause) int { return len(a.Platform) - len(b.Platform) })
		return all
	}
	f.same("none", len(list()), 0)
	all := unbind.Pause{Time: f.now, Reason: "wrong unbinds", By: "li"}
	one := unbind.Pause{Platform: "shop", Time: f.now.Add(time.Second), Reason: "搬迁"}
	f.ok(f.PutPause(f.ctx, all))
	f.ok(f.PutPause(f.ctx, unbind.Pause{Platform: "shop", Time: f.now, Reason: "the reason before"}))
	f.ok(f.PutPause(f.ctx, one))
	f.reopen()
	f.same("both", list(), []unbind.Pause{all, one})
	f.ok(f.DropPause(f.ctx, "bank"))
	f.ok(f.DropPause(f.ctx, ""))
	f.reopen()
	f.same("one", list(), []unbind.Pause{one})
	f.ok(f.DropPause(f.ctx, "shop"))
	f.ok(f.DropPause(f.ctx, "shop"))
	f.same("none again", len(list()), 0)
}

// openOrders returns the ids of what is found.
func (f *fixture) openOrders(q unbind.OpenOrderQuery) []string {
	f.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	orders, _, err := f.OpenOrders(f.ctx, q)
	f.ok(err)
	ids := []string{}
	for _, o := range orders {
		ids = append(ids, o.ID)
	}
	return ids
}

// dueOrder makes an open order that is due at a time.
func (f *fixture) dueOrder(at platform.ID, due time.Time) string {
	f.Helper()
	p := f.person("13800130001", "01123X")
	p.subject = phone.Subject(sum("subject", due.String(), string(at)))
	o := f.order(p, at, f.now.Add(-time.Hour), "r")
	o.DueTime = due
	f.enqueue(f.request(p, item(o)))
	return o.ID
}

func openOrders(f *fixture) {
	f.same("none", f.openOrders(unbind.OpenOrderQuery{}), []string{})
	third := f.dueOrder("shop", f.now.Add(time.Hour))
	first := f.dueOrder("bank", f.now.Add(-2*time.Hour))
	second := f.dueOrder("shop", f.now.Add(-time.Hour))
	ended := f.dueOrder("shop", f.now.Add(-3*time.Hour))
	_, _, err := f.Report(f.ctx, "shop", ended, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	_, _, err = f.Report(f.ctx, "bank", first, f.reported(platform.StageInReview, f.now))
	f.ok(err)
	f.reopen()
	f.same("all", f.openOrders(unbind.OpenOrderQuery{}), []string{first, second, third})
	f.same("of a platform", f.openOrders(unbind.OpenOrderQuery{Platform: "shop"}), []string{second, third})
	f.same("of nobody", f.openOrders(unbind.OpenOrderQuery{Platform: "sho"}), []string{})
	f.same("overdue", f.openOrders(unbind.OpenOrderQuery{Overdue: true}), []string{first, second})
	f.same("overdue at one", f.openOrders(unbind.OpenOrderQuery{Overdue: true, Platform: "shop"}), []string{second})
	f.same("in review", f.openOrders(unbind.OpenOrderQuery{State: unbind.InReview}), []string{first})
	f.same("final", f.openOrders(unbind.OpenOrderQuery{State: unbind.Completed}), []string{})

	claims, _ := f.claimAt(f.now, time.Hour, 1, func(p platform.ID) int { return map[platform.ID]int{"shop": 1}[p] })
	sending := claims[0].Order.ID
	waiting := []string{second}
	if sending == second {
		waiting = []string{third}
	}
	f.same("sending", f.openOrders(unbind.OpenOrderQuery{State: unbind.Sending}), []string{sending})
	f.same("queued", f.openOrders(unbind.OpenOrderQuery{State: unbind.Queued}), waiting)
}

func openOrderPages(f *fixture) {
	var want []string
	for i := range 7 {
		at := platform.ID([]string{"shop", "bank"}[i%2])
		want = append(want, f.dueOrder(at, f.now.Add(time.Duration(i)*time.Minute)))
	}
	var got []string
	q := unbind.OpenOrderQuery{Limit: 2}
	for i := range 10 {
		orders, next, err := f.OpenOrders(f.ctx, q)
		f.ok(err)
		for _, o := range orders {
			got = append(got, o.ID)
		}
		if q.After = next; next == "" {
			break
		}
		if i == 1 { // what ends meanwhile moves no page
			_, _, err := f.Report(f.ctx, "bank", want[3], f.reported(platform.StageCompleted, f.now))
			f.ok(err)
		}
	}
	f.same("pages", got, want)
	f.same("a page that is no place", f.openOrders(unbind.OpenOrderQuery{After: "ffff"}), []string{})
}

// openOrdersSealed: a list shows nobody's number and nobody's account.
func openOrdersSealed(f *fixture) {
	f.dueOrder("shop", f.now)
	orders, _, err := f.OpenOrders(f.ctx, unbind.OpenOrderQuery{Limit: 1})
	f.ok(err)
	o := orders[0]
	f.same("number", o.Number, phone.Number{})
	f.same("accounts", len(o.AccountRefs), 0)
	f.same("platform", o.Platform, platform.ID("shop"))
	f.same("history", len(o.History), 1)
}
