package rpc_test

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/unbind"
)

func (p *person) appeal(id string, nth int32) (*hubv1.Unbind, error) {
	resp, err := p.unbinds.AppealUnbind(p.ctx, &hubv1.AppealUnbindRequest{UnbindId: id, Appeal: nth})
	return resp.GetUnbind(), err
}

// again is the report of a state that the platform reached now.
func again(id string, s hubv1.ReportedState) *hubv1.ReportUnbindRequest {
	r := report(id, s)
	r.StateTime = timestamppb.Now()
	return r
}

func TestAppeal(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		first, decided := p.get(id), again(id, refused)
		shop.says(decided, true, "REFUSED")
		before, jws := p.proof(id)
		w.pass(3 * 24 * time.Hour)
		p = w.person()
		for range 3 { // however often it is repeated
			o, err := p.appeal(id, 1)
			w.must(err)
			if o.GetState() != hubv1.UnbindState_UNBIND_STATE_APPEALED || o.GetAppeals() != 1 || o.Receipt != nil || o.Refusal != nil || o.NextStep != nil ||
				!o.GetDueTime().AsTime().After(first.GetDueTime().AsTime().Add(24*time.Hour)) || o.GetOverdue() {
				w.Errorf("%v", o)
			}
		}
		shop.says(decided, false, "APPEALED") // what it said before the appeal
		w.pass(time.Minute)
		shop.says(again(id, refused), true, "REFUSED")
		after, newer := p.proof(id)
		if before.Sequence != 0 || after.Sequence != 1 || !after.EndTime.After(before.EndTime) || !after.DueTime.After(before.DueTime) || newer == jws {
			w.Errorf("%+v\n%+v", before, after)
		}
		if _, err := receipt.Verify([]byte(jws), w.receipts.Keys()); err != nil {
			w.Errorf("the older receipt: %v", err)
		}
		if _, err := p.appeal(id, 1); err != nil || p.get(id).GetReceipt() != newer {
			w.Errorf("the first appeal, repeated late: %v", err)
		}
		if _, err := p.appeal(id, 2); err != nil {
			w.Fatal(err)
		}
		w.pass(time.Minute)
		shop.says(again(id, refused), true, "REFUSED")
		_, err := p.appeal(id, 0)
		w.wants("a third appeal", err, "APPEAL_LIMIT", "")
		if r, _ := p.proof(id); r.Sequence != 2 {
			w.Errorf("%+v", r)
		}
	})
}

func TestRefusedAppeals(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		_, err := p.appeal(id, 0)
		w.wants("an order that waits", err, "NOT_REFUSED", "")
		_, err = p.appeal(id, 1)
		w.wants("an order that waits, by count", err, "NOT_REFUSED", "")
		shop.says(report(id, inReview), true, "IN_REVIEW")
		_, err = p.appeal(id, 0)
		w.wants("an order in review", err, "NOT_REFUSED", "")
		shop.says(again(id, refused), true, "REFUSED")
		for _, bad := range append(badIDs(), noID) {
			_, err = p.appeal(bad, 0)
			w.wants("id "+bad, err, "UNBIND_NOT_FOUND", "")
		}
		for what, nth := range map[string]int32{"-2^31": -1 << 31, "-1": -1} {
			if o, err := p.appeal(id, nth); err != nil || o.GetState() != hubv1.UnbindState_UNBIND_STATE_REFUSED {
				w.Errorf("appeal %s: %v %v", what, o, err)
			}
		}
		_, err = p.appeal(id, 1<<31-1)
		w.wants("appeal 2^31-1", err, "APPEAL_LIMIT", "")
		w.pass(time.Minute)
		_, err = w.verified(number, suffix, "LOOKUP").appeal(id, 0)
		w.wants("LOOKUP alone", err, "CONSENT_REQUIRED", "consent.scopes")
		w.pass(30*24*time.Hour + time.Second)
		_, err = w.person().appeal(id, 0)
		w.wants("after 30 days", err, "APPEAL_TOO_LATE", "")
	})
	for state, end := range map[string]unbind.Transition{
		"abandoned": unbind.Abandon(unbind.Attempt{}, "TOO_OLD"), "cancelled": unbind.HolderChanged(time.Unix(1<<30, 0)),
	} {
		withOrder(t, func(w *world, p *person, _ member, id string) {
			w.finish(end)
			_, err := p.appeal(id, 0)
			w.wants(state, err, "ALREADY_TERMINAL", "")
		})
	}
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, completed), true, "COMPLETED")
		_, err := p.appeal(id, 1)
		w.wants("completed", err, "ALREADY_TERMINAL", "")
	})
}

// An order is the person's, not the number's: the next holder can't appeal for the
// one before, nor can that one any more.
func TestAppealOfAnotherSubject(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(again(id, refused), true, "REFUSED")
		w.carrier.say(func(c *carrier) { c.suffix = "01000X" })
		_, err := p.appeal(id, 1)
		w.wants("the former holder", err, "SESSION_INVALID", "")
		w.pass(time.Minute)
		_, err = w.verified(number, "01000X").appeal(id, 1)
		w.wants("the next holder", err, "UNBIND_NOT_FOUND", "")
		if o := p.get(id); o.GetAppeals() != 0 || o.GetState() != hubv1.UnbindState_UNBIND_STATE_REFUSED {
			w.Errorf("%v", o)
		}
	})
}

func TestHundredAppeals(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(again(id, refused), true, "REFUSED")
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if o, err := p.appeal(id, 0); err != nil || o.GetAppeals() != 1 {
					w.Errorf("%v %v", o, err)
				}
			})
		}
		all.Wait()
		if o := p.get(id); o.GetAppeals() != 1 || len(o.GetHistory()) != 3 {
			w.Errorf("%v", o)
		}
	})
}

// An appeal begins new work, which a hub that is drained does not take.
func TestAppealWhileDraining(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(again(id, refused), true, "REFUSED")
		w.server.SetAdmitting(false)
		_, err := p.appeal(id, 1)
		w.wants("while draining", err, "SHUTTING_DOWN", "")
		seen := make(map[[2]string]bool) // the gate counts it among the orders, not beside them
		for _, r := range w.server.Admission().Rejected {
			if seen[[2]string{r.Kind, r.Cause}] {
				w.Errorf("%s refused for %s is listed twice", r.Kind, r.Cause)
			}
			seen[[2]string{r.Kind, r.Cause}] = true
		}
		w.server.SetAdmitting(true)
		if _, err := p.appeal(id, 1); err != nil {
			w.Error(err)
		}
	})
}

// Cancelling is for what was never sent, and an appeal follows an attempt.
func TestAppealedCantBeCancelled(t *testing.T) {
	withOrder(t, func(w *world, p *person, _ member, id string) {
		c := w.claim()
		no := platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_BALANCE", Time: time.Now()}
		_, err := w.store.Finish(w.Context(), c, unbind.Answered(unbind.Attempt{Began: time.Now(), Ended: time.Now()}, no, time.Time{}))
		w.must(err)
		if _, err := p.appeal(id, 1); err != nil {
			w.Fatal(err)
		}
		_, err = p.cancel(id)
		w.wants("while it waits", err, "ALREADY_SENT", "")
		w.claim()
		if o, err := p.appeal(id, 1); err != nil || o.GetAppeals() != 1 {
			w.Errorf("while it is sent: %v %v", o, err)
		}
		_, err = p.cancel(id)
		w.wants("while it is sent", err, "ALREADY_SENT", "")
	})
}

// TestAppealDuringAnAttempt: the platform reports its refusal while it still owes
// the answer to the same attempt, and the person appeals in between. That answer
// is of the decision appealed against; the platform has yet to hear of the appeal.
func TestAppealDuringAnAttempt(t *testing.T) {
	for what, stage := range map[string]platform.Stage{
		"refused": platform.StageRefused, "in review": platform.StageInReview, "action required": platform.StageActionRequired,
	} {
		withOrder(t, func(w *world, p *person, shop member, id string) {
			c, began := w.claim(), time.Now()
			shop.says(again(id, refused), true, "REFUSED")
			if _, err := p.appeal(id, 1); err != nil {
				w.Fatal(err)
			}
			w.pass(time.Second)
			late := platform.Report{Stage: stage, Time: time.Now()}
			if stage == platform.StageRefused {
				late.RefusalReason = "HAS_BALANCE"
			}
			answer := unbind.Answered(unbind.Attempt{Began: began, Ended: time.Now(), Appeal: c.Order.Appeals}, late, time.Now())
			o, err := w.store.Finish(w.Context(), c, answer)
			if err != nil || o.State != unbind.Appealed || !o.Sent {
				w.Errorf("%s: %s %v", what, o.State, err)
			}
			w.pass(time.Second)
			if next := w.claim(); next.Order.Appeals != 1 || next.Order.State != unbind.Appealed {
				w.Errorf("%s: then %+v", what, next.Order)
			}
		})
	}
}
