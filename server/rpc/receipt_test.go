package rpc_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/unbind"
)

// proof is the receipt of an order, verified. What it holds is no secret.
func (p *person) proof(id string) (receipt.Receipt, string) {
	p.w.Helper()
	jws := p.get(id).GetReceipt()
	r, err := receipt.Verify([]byte(jws), p.w.receipts.Keys())
	if err != nil {
		p.w.Fatalf("%v: %q", err, jws)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jws, ".")[1])
	p.w.must(err)
	p.w.noSecrets("a receipt", string(payload)+jws)
	return r, jws
}

func TestReceiptOfEveryEnd(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		taken := p.get(id)
		if taken.Receipt != nil {
			w.Errorf("an order that waits has the receipt %q", taken.GetReceipt())
		}
		shop.says(report(id, inReview), true, "IN_REVIEW")
		if o := p.get(id); o.Receipt != nil {
			w.Error("an order in review has a receipt")
		}
		w.pass(90 * time.Second)
		ended := time.Now().UTC().Truncate(time.Second)
		shop.says(report(id, refused), true, "REFUSED")
		r, jws := p.proof(id)
		want := receipt.Receipt{
			Issuer: "spiffe://hub.example/hub/main", UnbindID: id, PlatformID: "shop", PlatformName: "平台shop", MaskedNumber: "139****9876", AccountCount: 1,
			CreateTime: taken.GetCreateTime().AsTime().Truncate(time.Second), DueTime: taken.GetDueTime().AsTime().Truncate(time.Second), EndTime: ended,
			Outcome: "REFUSED", Reason: "HAS_BALANCE", RefusalText: "账户有余额",
		}
		if r != want {
			w.Errorf("%+v, want %+v", r, want)
		}
		w.pass(4 * time.Minute)
		if again := p.get(id).GetReceipt(); again != jws {
			w.Errorf("the receipt changed by itself:\n%s\n%s", again, jws)
		}
		list, err := p.list(0, "")
		if err != nil || list.GetUnbinds()[0].Receipt != nil || list.GetUnbinds()[0].GetNextStep() == "" {
			w.Errorf("in a list: %v %v", list, err)
		}
	})
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, completed), true, "COMPLETED")
		if r, _ := p.proof(id); r.Outcome != "COMPLETED" || r.Reason != "" || r.RefusalText != "" {
			w.Errorf("%+v", r)
		}
		if o := p.get(id); o.NextStep != nil || o.GetAppeals() != 0 {
			w.Errorf("%v", o)
		}
	})
	withOrder(t, func(w *world, p *person, _ member, id string) {
		o, err := p.cancel(id)
		w.must(err)
		r, jws := p.proof(id)
		if r.Outcome != "CANCELLED" || r.Reason != "BY_PERSON" || o.GetReceipt() != jws {
			w.Errorf("%+v, CancelUnbind answered %q", r, o.GetReceipt())
		}
	})
	withOrder(t, func(w *world, p *person, _ member, id string) {
		w.finish(unbind.Abandon(unbind.Attempt{Began: time.Now(), Ended: time.Now()}, "TOO_OLD"))
		r, jws := p.proof(id)
		if r.Outcome != "ABANDONED" || r.Reason != "TOO_OLD" {
			w.Errorf("%+v", r)
		}
		_, err := w.store.Discard(w.Context(), id, unbind.Discarded(time.Now(), "tidied up"))
		w.must(err)
		if p.get(id).GetReceipt() != jws { // what an operator puts aside is no new end
			w.Error("a discard changed the receipt")
		}
	})
	withOrder(t, func(w *world, p *person, _ member, id string) {
		w.finish(unbind.HolderChanged(time.Now()))
		if r, _ := p.proof(id); r.Outcome != "CANCELLED" || r.Reason != "HOLDER_CHANGED" {
			w.Errorf("%+v", r)
		}
	})
}

// claim leases the one order that is due.
func (w *world) claim() unbind.Claim {
	w.Helper()
	claims, _, err := w.store.Claim(w.Context(), unbind.ClaimRequest{Now: time.Now(), Lease: time.Minute, Max: 9, Free: func(platform.ID) int { return 9 }})
	if err != nil || len(claims) != 1 {
		w.Fatalf("%v %v", claims, err)
	}
	return claims[0]
}

// finish ends an attempt of the one order that is due.
func (w *world) finish(t unbind.Transition) {
	w.Helper()
	_, err := w.store.Finish(w.Context(), w.claim(), t)
	w.must(err)
}

// in is the person with a program of another language.
func (p *person) in(lang string) *person {
	next := *p
	next.ctx = metadata.AppendToOutgoingContext(p.ctx, "accept-language", lang)
	return &next
}

// Every end but a good one, and every wait for the person or past the due time,
// comes with what to do, in the language of the person.
func TestNextSteps(t *testing.T) {
	check := func(w *world, p *person, id, what, zh, en string) {
		w.Helper()
		o := p.get(id)
		if got := o.GetNextStep(); !strings.Contains(got, zh) || zh == "" && got != "" {
			w.Errorf("%s: %q, want %q in it", what, got, zh)
		}
		english := p.in("en-GB,en;q=0.9").get(id)
		if got := english.GetNextStep(); !strings.Contains(got, en) || en == "" && got != "" {
			w.Errorf("%s: %q, want %q in it", what, got, en)
		}
		if o.Refusal != nil && (o.GetRefusal().GetNextStep() != o.GetNextStep() || english.GetRefusal().GetNextStep() != english.GetNextStep()) {
			w.Errorf("%s: the refusal says %q, the order %q", what, o.GetRefusal().GetNextStep(), o.GetNextStep())
		}
	}
	for _, reason := range platform.RefusalReasons() {
		withOrder(t, func(w *world, p *person, shop member, id string) {
			check(w, p, id, "waiting", "", "")
			no := report(id, refused)
			no.RefusalReason = reason
			shop.says(no, true, "REFUSED")
			check(w, p, id, reason, "30 天内申诉", "appeal within 30 days")
			check(w, p, id, reason, "平台", "12315")
			w.pass(31 * 24 * time.Hour)
			check(w, w.person(), id, reason+" long ago", "凭回执向 12315（消费者投诉）或 12300", "complain with the receipt at 12315 (consumers) or 12300")
		})
	}
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, action), true, "ACTION_REQUIRED")
		check(w, p, id, "action", "平台提供的办理页面", "open the page that it gave")
	})
	withOrder(t, func(w *world, _ *person, _ member, id string) {
		w.pass(6 * 24 * time.Hour)
		check(w, w.person(), id, "overdue", "已超过应办结时间", "past its due time")
	})
	withOrder(t, func(w *world, p *person, _ member, id string) {
		_, err := p.cancel(id)
		w.must(err)
		check(w, p, id, "taken back", "您已撤回", "You took this order back")
	})
	for what, c := range map[string]struct {
		t      unbind.Transition
		zh, en string
	}{
		"abandoned":      {unbind.Abandon(unbind.Attempt{}, "TOO_OLD"), "12300", "12300"},
		"holder changed": {unbind.HolderChanged(time.Unix(1<<30, 0)), "已更换机主", "changed hands"},
	} {
		withOrder(t, func(w *world, p *person, _ member, id string) {
			w.finish(c.t)
			check(w, p, id, what, c.zh, c.en)
		})
	}
}

// A hub without keys for receipts, as in a test of something else, gives none.
func TestNoKeysNoReceipt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.receipts = nil
		w.build()
		w.serve()
		p := w.person()
		id := p.orderAt("shop")
		if o, err := p.cancel(id); err != nil || o.Receipt != nil || o.GetState() != hubv1.UnbindState_UNBIND_STATE_CANCELLED {
			w.Errorf("%v %v", o, err)
		}
	})
}
