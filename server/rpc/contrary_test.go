package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// A platform that says done and still says bound is believed in neither: the
// order stays completed, the next lookup shows what is there, and a new order is
// a new one.
func TestDoneButStillBound(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, completed), true, "COMPLETED")
		w.pass(time.Minute)
		l := p.look()
		for _, a := range p.finished(l.GetLookupId()).GetAnswers() {
			if a.GetPlatformId() == "shop" && (a.GetState() != hubv1.AnswerState_ANSWER_STATE_BOUND || a.GetBoundBeforeHolder() != 1) {
				w.Errorf("the next lookup: %v", a)
			}
		}
		_, err := p.unbind(l.GetLookupId(), "order-shop", "shop")
		w.wants("the first order's request id with a later lookup", err, "REQUEST_ID_REUSED", "requestId")
		orders, err := p.unbind(l.GetLookupId(), "once-more", "shop")
		w.must(err)
		next := orders[0].GetUnbindId()
		if next == "" || next == id {
			w.Fatalf("a new order: %v", orders)
		}
		shop.says(report(id, refused), false, "COMPLETED") // about the first one nothing changes
		if first, second := p.get(id), p.get(next); first.GetState() != hubv1.UnbindState_UNBIND_STATE_COMPLETED || second.GetState() != hubv1.UnbindState_UNBIND_STATE_QUEUED {
			w.Errorf("%v, %v", first, second)
		}
		shop.says(report(next, completed), true, "COMPLETED")
		if list, err := p.list(0, ""); err != nil || len(list.GetUnbinds()) != 2 {
			w.Errorf("%v %v", list, err)
		}
	})
}

// Who is no member any more is refused at the next call, on the connection that
// is open as on a new one, though the certificate has not expired.
func TestMemberNoMore(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, inReview), true, "IN_REVIEW")
		w.isMember = func(id string) bool { return id != "shop" }
		for what, m := range map[string]member{"the open connection": shop, "a new one": w.member("shop")} {
			_, err := m.ReportUnbind(w.Context(), report(id, completed))
			if got := w.wants(what, err, "ROLE_DENIED", ""); got.code != codes.PermissionDenied {
				w.Errorf("%s: %v", what, got.code)
			}
			_, err = m.CheckNumber(w.Context(), &hubv1.CheckNumberRequest{PhoneNumber: number})
			w.wants(what, err, "ROLE_DENIED", "")
		}
		if o := p.get(id); o.GetState() != hubv1.UnbindState_UNBIND_STATE_IN_REVIEW {
			w.Errorf("%v", o.GetState())
		}
		w.isMember = func(string) bool { return true }
		shop.says(report(id, completed), true, "COMPLETED")
	})
}

// A suspended platform is sent no question.
func TestSuspendedIsNotAsked(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["shop"].set(func(p *peer) { p.suspended, p.holding = true, true })
		p := w.person()
		l := p.finished(p.look().GetLookupId())
		if l.GetAsked() != 2 || l.GetAnswered() != 2 || len(w.peers["shop"].held) != 0 {
			w.Errorf("%v, and %d questions", l, len(w.peers["shop"].held))
		}
		l, err := p.create([]string{"shop"}, "")
		if err != nil || l.GetAsked() != 0 || len(w.peers["shop"].held) != 0 {
			w.Errorf("asked for alone: %v %v", l, err)
		}
	})
}
