package storetest

import (
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

var deadCases = map[string]func(*fixture){
	"Appeal":                    appeal,
	"AppealRules":               appealRules,
	"ReportsOfARefusalAppealed": reportsAppealed,
	"DeadLetters":               deadLetters,
	"DeadLetterPages":           deadLetterPages,
	"Replay":                    replay,
	"Discard":                   discard,
	"Extend":                    extend,
	"HolderGone":                holderGone,
	"HistoryOfAttempts":         attemptHistory,
}

// refusedOrder is an order that its platform refused at a time.
func (f *fixture) refusedOrder(p person, at time.Time) unbind.Order {
	f.Helper()
	o := f.order(p, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(p, item(o)))
	got, _, err := f.Report(f.ctx, "shop", o.ID, unbind.Reported(at, f.answer(platform.StageRefused, at), at))
	f.ok(err)
	return got
}

func appeal(f *fixture) {
	a := f.alice()
	o := f.refusedOrder(a, f.now)
	f.same("nothing to do", len(f.claim(9)), 0)
	later, due := f.now.Add(time.Hour), f.now.Add(200*time.Hour)
	got, err := f.Appeal(f.ctx, a.subject, o.ID, unbind.AppealedByPerson(later, due))
	f.ok(err)
	f.same("state", got.State, unbind.Appealed)
	f.same("due", got.DueTime, due)
	f.same("appeals", got.Appeals, 1)
	f.reopen()
	f.same("on disk", f.orderOf(a, o.ID), got)
	again, err := f.Appeal(f.ctx, a.subject, o.ID, unbind.AppealedByPerson(later.Add(time.Hour), due.Add(time.Hour)))
	f.ok(err)
	f.same("appealed already", again, got)

	claims, _ := f.claimAt(later, time.Hour, 9, func(platform.ID) int { return 9 })
	f.same("sent again", claimed(claims), []string{o.ID})
	a2 := unbind.Attempt{Began: later, Ended: later}
	got, err = f.Finish(f.ctx, claims[0], unbind.Retry(a2, "UNAVAILABLE", later))
	f.ok(err)
	f.same("still appealed", got.State, unbind.Appealed)
	claims, _ = f.claimAt(later, time.Hour, 9, func(platform.ID) int { return 9 })
	got, err = f.Finish(f.ctx, claims[0], unbind.Answered(a2, f.answer(platform.StageCompleted, later), later))
	f.ok(err)
	f.same("done", got.State, unbind.Completed)
	f.same("no refusal left", got.RefusalReason+got.RefusalText, "")
}

func appealRules(f *fixture) {
	a := f.alice()
	refuse := func(id string, at time.Time, want fault.Reason) {
		f.Helper()
		_, err := f.Appeal(f.ctx, a.subject, id, unbind.AppealedByPerson(at, at.Add(time.Hour)))
		f.refused(err, want)
	}
	refuse(seal.NewID(f.now), f.now, fault.UnbindNotFound)
	open := f.order(a, "bank", f.now, "r")
	f.enqueue(f.request(a, item(open)))
	refuse(open.ID, f.now, fault.NotRefused)
	_, _, err := f.Report(f.ctx, "bank", open.ID, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	refuse(open.ID, f.now, fault.AlreadyTerminal)

	o := f.refusedOrder(a, f.now)
	_, err = f.Appeal(f.ctx, f.carol().subject, o.ID, unbind.AppealedByPerson(f.now, f.now)) // the next holder
	f.refused(err, fault.UnbindNotFound)
	refuse(o.ID, f.now.Add(unbind.AppealWindow+time.Second), fault.AppealTooLate)
	at := f.now
	for range unbind.MaxAppeals {
		at = at.Add(time.Hour)
		_, err := f.Appeal(f.ctx, a.subject, o.ID, unbind.AppealedByPerson(at, at.Add(time.Hour)))
		f.ok(err)
		_, changed, err := f.Report(f.ctx, "shop", o.ID, unbind.Reported(at, f.answer(platform.StageRefused, at), at))
		f.ok(err)
		f.same("refused again", changed, true)
	}
	f.reopen()
	refuse(o.ID, at, fault.AppealLimit)
}

// reportsAppealed: what a platform said of the decision that was appealed does
// not decide the appeal, however late it comes; that it is done counts.
func reportsAppealed(f *fixture) {
	a := f.alice()
	o := f.refusedOrder(a, f.now)
	at := f.now.Add(time.Hour)
	_, err := f.Appeal(f.ctx, a.subject, o.ID, unbind.AppealedByPerson(at, at.Add(time.Hour)))
	f.ok(err)
	for _, stage := range []platform.Stage{platform.StageRefused, platform.StageInReview, platform.StageActionRequired} {
		_, changed, err := f.Report(f.ctx, "shop", o.ID, f.reported(stage, f.now))
		f.ok(err)
		f.same("an old report", changed, false)
	}
	_, changed, err := f.Report(f.ctx, "shop", o.ID, f.reported(platform.StageInReview, at))
	f.ok(err)
	f.same("in review", changed, true)
	_, changed, err = f.Report(f.ctx, "shop", o.ID, f.reported(platform.StageRefused, f.now))
	f.ok(err)
	f.same("the old refusal once more", changed, false)
	got, changed, err := f.Report(f.ctx, "shop", o.ID, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	f.same("done", changed, true)
	f.same("state", got.State, unbind.Completed)
}

// abandoned gives orders up at a platform, one a minute from the beginning on.
func (f *fixture) abandoned(at platform.ID, reason string, n int) []string {
	f.Helper()
	var ids []string
	for i := range n {
		id := f.queued(at, f.now.Add(-2*time.Hour))[0]
		end := f.now.Add(-time.Hour + time.Duration(i)*time.Minute)
		claims, _ := f.claimAt(f.now, time.Hour, 1, func(p platform.ID) int {
			if p == at {
				return 1
			}
			return 0
		})
		_, err := f.Finish(f.ctx, claims[0], unbind.Abandon(unbind.Attempt{Began: end, Ended: end}, reason))
		f.ok(err)
		ids = append(ids, id)
	}
	return ids
}

func (f *fixture) dead(q unbind.DeadLetterQuery) []string {
	f.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	orders, _, err := f.DeadLetters(f.ctx, q)
	f.ok(err)
	ids := []string{}
	for _, o := range orders {
		ids = append(ids, o.ID)
	}
	return ids
}

func deadLetters(f *fixture) {
	f.same("none", f.dead(unbind.DeadLetterQuery{}), []string{})
	shop := f.abandoned("shop", "TOO_OLD", 3)
	bank := f.abandoned("bank", "ALREADY_EXISTS", 1)
	shopping := f.abandoned("shopping", "TOO_OLD", 1) // its name begins like the other
	f.queued("shop", f.now)
	f.reopen()
	f.same("all", f.dead(unbind.DeadLetterQuery{}), append(append(append([]string{}, bank...), shop...), shopping...))
	f.same("of a platform", f.dead(unbind.DeadLetterQuery{Platform: "shop"}), shop)
	f.same("of a reason", f.dead(unbind.DeadLetterQuery{Reason: "ALREADY_EXISTS"}), bank)
	f.same("older than", f.dead(unbind.DeadLetterQuery{Platform: "shop", Before: f.now.Add(-58 * time.Minute)}), shop[:2])
	f.same("of nobody", f.dead(unbind.DeadLetterQuery{Platform: "sho"}), []string{})
}

func deadLetterPages(f *fixture) {
	want := append(f.abandoned("bank", "TOO_OLD", 3), f.abandoned("shop", "TOO_OLD", 4)...)
	var got []string
	q := unbind.DeadLetterQuery{Limit: 2}
	for range 10 {
		orders, next, err := f.DeadLetters(f.ctx, q)
		f.ok(err)
		for _, o := range orders {
			got = append(got, o.ID)
		}
		if q.After = next; next == "" {
			break
		}
	}
	f.same("pages", got, want)
}

func replay(f *fixture) {
	ids := f.abandoned("shop", "TOO_OLD", 2)
	before, _, err := f.DeadLetters(f.ctx, unbind.DeadLetterQuery{Limit: 1})
	f.ok(err)
	later := f.now.Add(time.Hour)
	o, err := f.Replay(f.ctx, ids[0], unbind.Replayed(later))
	f.ok(err)
	f.same("state", o.State, unbind.Queued)
	f.same("open since", o.OpenTime.UTC(), later)
	f.same("due as before", o.DueTime, before[0].DueTime)
	f.reopen()
	f.same("left", f.dead(unbind.DeadLetterQuery{}), ids[1:])
	_, err = f.Replay(f.ctx, ids[0], unbind.Replayed(later))
	f.refused(err, fault.NotAbandoned)
	_, err = f.Replay(f.ctx, seal.NewID(f.now), unbind.Replayed(later))
	f.refused(err, fault.UnbindNotFound)
	claims, _ := f.claimAt(later, time.Hour, 9, func(platform.ID) int { return 9 })
	f.same("sent again", claimed(claims), ids[:1])
	if claims[0].Order.Attempts < before[0].Attempts {
		f.Error("a replay forgot attempts")
	}
}

func discard(f *fixture) {
	ids := f.abandoned("shop", "TOO_OLD", 2)
	o, err := f.Discard(f.ctx, ids[1], unbind.Discarded(f.now, "平台已关闭"))
	f.ok(err)
	f.same("state", o.State, unbind.Abandoned)
	f.same("note", o.Note, "平台已关闭")
	f.reopen()
	f.same("left", f.dead(unbind.DeadLetterQuery{}), ids[:1])
	_, err = f.Discard(f.ctx, ids[1], unbind.Discarded(f.now, "again"))
	f.refused(err, fault.NotAbandoned)
	_, err = f.Replay(f.ctx, ids[1], unbind.Replayed(f.now))
	f.refused(err, fault.NotAbandoned)
}

func extend(f *fixture) {
	f.queued("shop", f.now.Add(-time.Hour))
	begin := time.Now()
	free := func(platform.ID) int { return 9 }
	claims, _ := f.claimAt(begin, time.Minute, 9, free)
	c, err := f.Extend(f.ctx, claims[0], begin.Add(time.Hour))
	f.ok(err)
	f.same("until", c.Until, begin.Add(time.Hour))
	again, _ := f.claimAt(begin.Add(2*time.Minute), time.Minute, 9, free)
	f.same("leased still", len(again), 0)
	f.Release(f.ctx, []unbind.Claim{c})
	_, err = f.Extend(f.ctx, c, begin.Add(2*time.Hour))
	f.refused(err, fault.LeaseLost)
	claims, _ = f.claimAt(begin, time.Minute, 9, free)
	_, err = f.Extend(f.ctx, c, begin.Add(2*time.Hour))
	f.refused(err, fault.LeaseLost)
	_, err = f.Finish(f.ctx, claims[0], unbind.Retry(f.sent(), "UNAVAILABLE", f.now))
	f.ok(err)
	f.reopen()
	_, err = f.Extend(f.ctx, claims[0], begin.Add(2*time.Hour))
	f.refused(err, fault.LeaseLost)
}

// attemptHistory: every attempt stays readable: when, what came of it, how long
// it took.
func attemptHistory(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	began := f.now
	one := unbind.Attempt{Began: began, Ended: began.Add(1500 * time.Millisecond)}
	_, err := f.Finish(f.ctx, f.claim(1)[0], unbind.Retry(one, "UNAVAILABLE", began))
	f.ok(err)
	f.reopen()
	_, err = f.Finish(f.ctx, f.claim(1)[0], unbind.Answered(one, f.answer(platform.StageCompleted, began), began))
	f.ok(err)
	steps := f.orderOf(a, o.ID).History
	f.same("failed", steps[2], unbind.Step{State: unbind.Queued, Time: one.Ended, Attempt: 1, Reason: "UNAVAILABLE", Took: 1500 * time.Millisecond})
	f.same("done", steps[4], unbind.Step{State: unbind.Completed, Time: one.Ended, Attempt: 2, Took: 1500 * time.Millisecond})
}

// holderGone: what a carrier says about one order of a person casts doubt on what
// it said about the others, and on nobody else's.
func holderGone(f *fixture) {
	a, b := f.alice(), f.bob()
	gone, other := f.order(a, "shop", f.now.Add(-time.Hour), "r"), f.order(a, "bank", f.now, "r")
	theirs := f.order(b, "bank", f.now, "r")
	f.enqueue(f.request(a, item(gone), item(other)))
	f.enqueue(f.request(b, item(theirs)))
	_, err := f.Finish(f.ctx, f.claim(1)[0], unbind.HolderChanged(f.now))
	f.ok(err)
	f.reopen()
	f.same("ended", f.orderOf(a, gone.ID).State, unbind.Cancelled)
	f.same("in doubt", f.orderOf(a, other.ID).HolderChecked.IsZero(), true)
	f.same("not in doubt", f.orderOf(b, theirs.ID).HolderChecked.IsZero(), false)
	f.same("still due", len(f.claim(9)), 2)
}
