package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

var recordCases = map[string]func(*fixture){
	"Platforms":             platforms,
	"LookupTallies":         lookupTallies,
	"OrderCountsFitAModel":  orderCounts,
	"RepeatIsCountedOnce":   repeatCountedOnce,
	"OrdersGoInTheEnd":      ordersGo,
	"SweepTakesWhatIsOver":  sweepTakes,
	"SweepLimit":            sweepLimit,
	"SweepKeepsWhatRenewed": sweepKeepsRenewed,
}

func platforms(f *fixture) {
	shop := platform.Entry{
		ID: "shop", DisplayName: "商店", Category: "网上购物", Address: "127.0.0.1:9443", SelfServiceURL: "https://shop.example/",
		Functions: platform.FunctionLookup | platform.FunctionUnbind, AddTime: f.now,
	}
	bank := platform.Entry{ID: "bank", DisplayName: "银行", Category: "手机银行", AddTime: f.now}
	f.ok(f.PutPlatform(f.ctx, shop))
	f.ok(f.PutPlatform(f.ctx, bank))
	shop.Suspended, shop.SuspendReason = true, "骚扰"
	f.ok(f.PutPlatform(f.ctx, shop))
	f.reopen()
	got, err := f.Platforms(f.ctx)
	f.ok(err)
	f.same("platforms", got, []platform.Entry{bank, shop})
}

func lookupTallies(f *fixture) {
	day, err := f.FirstDay(f.ctx)
	f.ok(err)
	if d := f.now.Sub(day); d < -time.Minute || d > time.Hour {
		f.Errorf("the first day is %v off", d)
	}
	today := coverage.DayOf(f.now)
	want, wantDays := make(map[platform.ID]coverage.Tally), make(map[coverage.Cell]coverage.Tally)
	for i := range 20 {
		cell := coverage.Cell{Platform: platform.ID(fmt.Sprint("p", i%3)), Day: today - coverage.Day(i%4)}
		var t coverage.Tally
		t.Add(platform.Answer{State: platform.Bound, Took: time.Duration(i*i) * time.Millisecond})
		t.Add(platform.Answer{State: platform.Silent, Malformed: i%2 == 0})
		t.Late = int64(i % 2)
		f.ok(f.FlushTallies(f.ctx, map[coverage.Cell]coverage.Tally{cell: t}))
		w, d := want[cell.Platform], wantDays[cell]
		w.Merge(t)
		d.Merge(t)
		want[cell.Platform], wantDays[cell] = w, d
		if i%7 == 6 {
			f.reopen()
		}
	}
	got, err := f.Tallies(f.ctx)
	f.ok(err)
	f.same("tallies", got, want)
	days, _, _ := f.days(today-3, today)
	f.same("days", days, wantDays)
	for cell := range wantDays {
		if cell.Day < today-2 || cell.Day > today-1 {
			delete(wantDays, cell)
		}
	}
	days, _, _ = f.days(today-2, today-1)
	f.same("days of a window", days, wantDays)
	again, err := f.FirstDay(f.ctx)
	f.ok(err)
	f.same("first day after restarts", again, day)
}

// orderCounts drives random orders and compares the counts with a model that
// keeps the orders themselves.
func orderCounts(f *fixture) {
	rnd := rand.New(rand.NewPCG(1, 2))
	model := make(map[string]unbind.Order)
	var ids []string
	for i := range 120 {
		switch id := ""; {
		case i < 20 || rnd.IntN(4) == 0:
			p := platform.ID(fmt.Sprint("p", rnd.IntN(3)))
			id = f.queued(p, f.now.Add(-time.Duration(rnd.IntN(240))*time.Hour))[0]
			ids = append(ids, id)
			model[id] = f.anyOrder(p, id)
		default:
			id = ids[rnd.IntN(len(ids))]
			stage := platform.Stage(1 + rnd.IntN(4))
			o, _, err := f.Report(f.ctx, model[id].Platform, id, f.reported(stage, f.now.Add(time.Duration(i)*time.Second)))
			f.ok(err)
			model[id] = o
		}
		if i%40 == 39 {
			f.reopen()
			f.compareCounts(model)
		}
	}
}

func repeatCountedOnce(f *fixture) {
	a := f.alice()
	e := f.request(a, item(f.order(a, "shop", f.now, "r1")), unbind.Item{Platform: "video", Reason: fault.NotLookedUp})
	f.enqueue(e)
	f.reopen()
	f.enqueue(e)
	counts, err := f.OrderCounts(f.ctx, f.now)
	f.ok(err)
	f.same("queued", counts["shop"].Queued+counts["video"].Queued, int64(1))
}

// ordersGo: an order is kept for 180 days after its end, and one that was opened
// again as long as it lasts.
func ordersGo(f *fixture) {
	a := f.alice()
	done, again := f.order(a, "shop", f.now, "r"), f.order(a, "bank", f.now, "r")
	f.enqueue(f.request(a, item(done), item(again)))
	_, _, err := f.Report(f.ctx, "shop", done.ID, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	_, _, err = f.Report(f.ctx, "bank", again.ID, f.reported(platform.StageRefused, f.now))
	f.ok(err)
	_, err = f.Appeal(f.ctx, a.subject, again.ID, unbind.AppealedByPerson(f.now.Add(time.Hour), f.now.Add(2*time.Hour), 0))
	f.ok(err)
	f.sweep(f.now.Add(180 * 24 * time.Hour))
	f.orderOf(a, done.ID)
	f.reopen()
	f.sweep(f.now.Add(180*24*time.Hour + time.Second))
	_, err = f.Order(f.ctx, a.subject, done.ID)
	f.refused(err, fault.UnbindNotFound)
	left, err := f.OrdersOf(f.ctx, a.subject, "", 9)
	f.ok(err)
	f.same("left", len(left), 1)
	f.same("open", left[0].State, unbind.Appealed)
	counts, err := f.OrderCounts(f.ctx, f.now)
	f.ok(err)
	f.same("counted since the first day", counts["shop"].Completed, int64(1))
}

// anyOrder reads an order through a report that changes nothing: the model need
// not know whose it is.
func (f *fixture) anyOrder(p platform.ID, id string) unbind.Order {
	f.Helper()
	claims, _ := f.claimAt(f.now, time.Hour, 1000, func(q platform.ID) int {
		if q == p {
			return 1000
		}
		return 0
	})
	f.Release(f.ctx, claims)
	for _, c := range claims {
		if c.Order.ID == id {
			return c.Order
		}
	}
	f.Fatalf("order %s is not due", id)
	return unbind.Order{}
}

func (f *fixture) compareCounts(model map[string]unbind.Order) {
	f.Helper()
	for _, now := range []time.Time{f.now.Add(-1000 * time.Hour), f.now, f.now.Add(1000 * time.Hour)} {
		want := make(map[platform.ID]coverage.Orders)
		for _, o := range model {
			c := want[o.Platform]
			switch o.State {
			case unbind.Queued:
				c.Queued++
			case unbind.InReview, unbind.ActionRequired:
				c.InReview++
			case unbind.Completed:
				c.Completed++
			case unbind.Refused:
				c.Refused++
			}
			if o.Overdue(now) {
				c.Overdue++
			}
			want[o.Platform] = c
		}
		got, err := f.OrderCounts(f.ctx, now)
		f.ok(err)
		f.same("order counts", got, want)
	}
}

func (f *fixture) sweep(at time.Time) {
	f.Helper()
	for more := true; more; {
		var err error
		more, err = f.Sweep(f.ctx, at, 3)
		f.ok(err)
	}
}

func sweepTakes(f *fixture) {
	a := f.alice()
	v := f.send(f.bob(), f.now)
	s := f.session(a, f.now)
	l := f.lookup(a, f.now)
	f.ask(l, f.admission(s, f.now, 0, 0))
	o := f.order(a, "shop", f.now, "r")
	f.enqueue(f.request(a, item(o)))
	limits := verify.DefaultLimits()

	f.sweep(v.ExpireTime) // the code is no good then, but not over yet
	_, err := f.GetVerification(f.ctx, v.ID, v.ExpireTime.Add(-1), limits)
	f.ok(err)
	f.sweep(v.ExpireTime.Add(time.Second))
	_, err = f.GetVerification(f.ctx, v.ID, v.ExpireTime.Add(-1), limits)
	f.refused(err, fault.VerificationFailed)
	_, err = f.TouchSession(f.ctx, s.Key, s.ExpireTime.Add(-1), time.Hour)
	f.ok(err)

	f.reopen()
	f.sweep(s.ExpireTime.Add(time.Second))
	_, err = f.TouchSession(f.ctx, s.Key, f.now, time.Hour)
	f.refused(err, fault.SessionInvalid)
	f.sweep(f.now.Add(47 * time.Hour))
	_, err = f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.sweep(f.now.Add(49 * time.Hour))
	_, err = f.Get(f.ctx, a.subject, l.ID)
	f.refused(err, fault.LookupNotFound)
	f.ok(f.Merge(f.ctx, l)) // what is gone stays gone
	_, err = f.Get(f.ctx, a.subject, l.ID)
	f.refused(err, fault.LookupNotFound)
	f.same("orders stay", f.orderOf(a, o.ID), *o)
}

func sweepLimit(f *fixture) {
	a := f.alice()
	s := f.session(a, f.now)
	for range 5 {
		f.ask(f.lookup(a, f.now), f.admission(s, f.now, 0, 0))
	}
	rounds, more := 0, true
	for ; more; rounds++ {
		var err error
		more, err = f.Sweep(f.ctx, f.now.Add(1000*time.Hour), 4)
		f.ok(err)
	}
	if rounds < 2 {
		f.Errorf("everything went in %d rounds", rounds)
	}
	more, err := f.Sweep(f.ctx, f.now.Add(1000*time.Hour), 4)
	f.ok(err)
	f.same("more", more, false)
}

// sweepKeepsRenewed: what was renewed before the sweep came round lives on.
func sweepKeepsRenewed(f *fixture) {
	a := f.alice()
	l := verify.DefaultLimits()
	l.CodesPerDay = 1
	renewal := f.now.Add(25 * time.Hour)
	adm := f.admission(f.session(f.bob(), f.now), f.now, 0, 0)
	adm.RequestKey, adm.ForgetTime = sum("request"), f.now.Add(1000*time.Hour)
	f.ok(f.OpenVerification(f.ctx, f.verification(a, f.now), l))
	f.ask(f.lookup(f.bob(), f.now), adm)

	f.ok(f.OpenVerification(f.ctx, f.verification(a, renewal), l))
	adm.Now = renewal
	id := f.ask(f.lookup(f.bob(), renewal), adm)
	f.reopen()
	f.sweep(renewal.Add(time.Second))

	later := f.verification(a, renewal.Add(time.Hour))
	f.refused(f.OpenVerification(f.ctx, later, l), fault.DailyLimit)
	adm.Now = later.CreateTime
	f.same("repeat", f.ask(f.lookup(f.bob(), later.CreateTime), adm), id)
	soon := f.verification(a, renewal.Add(30*time.Second))
	f.refused(f.OpenVerification(f.ctx, soon, l), fault.CodeResendTooSoon)
}
