package storetest

import (
	"math/rand/v2"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

var reportCases = map[string]func(*fixture){
	"ReportOwnOrdersOnly":   reportOwnOrders,
	"ReportsInAnyOrder":     reportsInAnyOrder,
	"ReportWhileSending":    reportWhileSending,
	"ReportMakesPollingDue": reportMakesPollingDue,
	"Cancel":                cancel,
	"CancelAfterAttempt":    cancelAfterAttempt,
	"CancelAfterRestart":    cancelAfterRestart,
	"CancelAfterSnooze":     cancelAfterSnooze,
}

func (f *fixture) reported(stage platform.Stage, at time.Time) unbind.Transition {
	return unbind.Reported(f.now, f.answer(stage, at), f.now.Add(time.Hour))
}

func reportOwnOrders(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now, "r")
	f.enqueue(f.request(a, item(o)))
	f.reopen()
	_, _, err := f.Report(f.ctx, "bank", o.ID, f.reported(platform.StageCompleted, f.now))
	f.refused(err, fault.UnbindNotFound)
	_, _, err = f.Report(f.ctx, "shop", seal.NewID(f.now), f.reported(platform.StageCompleted, f.now))
	f.refused(err, fault.UnbindNotFound)
	f.same("untouched", f.orderOf(a, o.ID), *o)
}

// reportsInAnyOrder: however late, often and shuffled a platform's words come,
// an order moves forward only and ends once.
func reportsInAnyOrder(f *fixture) {
	a := f.alice()
	var words []unbind.Transition
	for i, stage := range []platform.Stage{
		platform.StageInReview, platform.StageActionRequired, platform.StageInReview, platform.StageActionRequired,
		platform.StageCompleted, platform.StageRefused,
	} {
		at := f.now.Add(time.Duration(i-10*24) * time.Hour)
		words = append(words, f.reported(stage, at), f.reported(stage, at))
	}
	for round := range 5 {
		o := f.order(a, "shop", f.now, "r")
		f.enqueue(f.request(a, item(o)))
		rand.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		have, ends := *o, 0
		for _, w := range words {
			got, changed, err := f.Report(f.ctx, "shop", o.ID, w)
			f.ok(err)
			want := have
			f.same("changed", changed, want.Apply(w))
			if got.State.Rank() < have.State.Rank() || have.State.Final() && got.State != have.State {
				f.Fatalf("a report moved the order from %s to %s", have.State, got.State)
			}
			if changed && got.State.Final() {
				ends++
			}
			have = got
		}
		f.same("ends", ends, 1)
		if round == 2 {
			f.reopen()
		}
		f.same("on disk", f.orderOf(a, o.ID), have)
	}
}

func reportWhileSending(f *fixture) {
	f.queued("shop", f.now.Add(-2*time.Hour), f.now.Add(-time.Hour))
	claims := f.claim(2)
	// Taken in review before the attempt's own answer is lost: a retry does not
	// take it back.
	_, changed, err := f.Report(f.ctx, "shop", claims[0].Order.ID, f.reported(platform.StageInReview, f.now))
	f.ok(err)
	f.same("changed", changed, true)
	o, err := f.Finish(f.ctx, claims[0], unbind.Retry(f.sent(), "UNAVAILABLE", f.now.Add(time.Minute)))
	f.ok(err)
	f.same("state", o.State, unbind.InReview)
	f.same("attempts", o.Attempts, 1)

	// Done before accepted.
	_, _, err = f.Report(f.ctx, "shop", claims[1].Order.ID, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	o, err = f.Finish(f.ctx, claims[1], unbind.Answered(f.sent(), f.answer(platform.StageInReview, f.now), f.now.Add(time.Minute)))
	f.ok(err)
	f.same("state", o.State, unbind.Completed)
	f.reopen()
	f.same("nothing more to do", len(f.claim(9)), 0)
}

func reportMakesPollingDue(f *fixture) {
	ids := f.queued("shop", f.now.Add(-time.Hour))
	_, _, err := f.Report(f.ctx, "shop", ids[0], f.reported(platform.StageInReview, f.now))
	f.ok(err)
	f.reopen()
	claims, next := f.claimAt(f.now, time.Hour, 9, func(platform.ID) int { return 9 })
	f.same("not due", len(claims), 0)
	f.same("next", next.UTC(), f.now.Add(time.Hour))
}

func cancel(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	_, err := f.Cancel(f.ctx, f.carol().subject, o.ID, unbind.CancelledByPerson(f.now))
	f.refused(err, fault.UnbindNotFound)
	_, err = f.Cancel(f.ctx, a.subject, seal.NewID(f.now), unbind.CancelledByPerson(f.now))
	f.refused(err, fault.UnbindNotFound)
	got, err := f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
	f.ok(err)
	f.same("state", got.State, unbind.Cancelled)
	f.reopen()
	f.same("on disk", f.orderOf(a, o.ID), got)
	_, err = f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
	f.refused(err, fault.AlreadyTerminal)
	f.same("not sent", len(f.claim(9)), 0)
	_, changed, err := f.Report(f.ctx, "shop", o.ID, f.reported(platform.StageCompleted, f.now))
	f.ok(err)
	f.same("a late report", changed, false)
}

func cancelAfterAttempt(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	refuse := func() {
		f.Helper()
		_, err := f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
		f.refused(err, fault.AlreadySent)
	}
	c := f.claim(1)
	refuse() // being sent
	_, err := f.Finish(f.ctx, c[0], unbind.Retry(f.sent(), "UNAVAILABLE", f.now))
	f.ok(err)
	f.reopen()
	refuse() // perhaps it was
	_, _, err = f.Report(f.ctx, "shop", o.ID, f.reported(platform.StageInReview, f.now))
	f.ok(err)
	refuse()
	f.same("open", f.orderOf(a, o.ID).State, unbind.InReview)
}

// cancelAfterSnooze: an attempt that cost nothing may have had its effect.
func cancelAfterSnooze(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	c := f.claim(1)
	_, err := f.Finish(f.ctx, c[0], unbind.Snooze(f.sent(), "RESOURCE_EXHAUSTED", f.now))
	f.ok(err)
	_, err = f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
	f.refused(err, fault.AlreadySent)
}

// cancelAfterRestart: a crash in a first attempt leaves no trace of it.
func cancelAfterRestart(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	f.claim(1)
	f.reopen()
	_, err := f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
	f.refused(err, fault.AlreadySent)
	f.same("due again", len(f.claim(1)), 1)
}
