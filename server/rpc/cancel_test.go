package rpc_test

import (
	"sync"
	"testing"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// A platform may say that an order is done that was never sent, since the person
// went there themselves. Of that and a cancellation one counts, and the receipt
// and everybody who was told say the same.
func TestCancelRacesCompletion(t *testing.T) {
	ends := make(map[hubv1.UnbindState]int)
	for range 20 {
		withOrder(t, func(w *world, p *person, shop member, id string) {
			var both sync.WaitGroup
			var applied bool
			var refusal error
			both.Go(func() {
				resp, err := shop.ReportUnbind(w.Context(), report(id, completed))
				if err != nil {
					w.Error(err)
				}
				applied = resp.GetApplied()
			})
			both.Go(func() { _, refusal = p.cancel(id) })
			both.Wait()
			o := p.get(id)
			ends[o.GetState()]++
			r, _ := p.proof(id)
			switch {
			case applied && w.tell(refusal).reason == "ALREADY_TERMINAL" && o.GetState() == hubv1.UnbindState_UNBIND_STATE_COMPLETED && r.Outcome == "COMPLETED":
			case !applied && refusal == nil && o.GetState() == hubv1.UnbindState_UNBIND_STATE_CANCELLED && r.Outcome == "CANCELLED":
			default:
				w.Errorf("applied %v, cancelled with %v, %v, %+v", applied, refusal, o, r)
			}
			if len(o.GetHistory()) != 2 {
				w.Errorf("%v", o.GetHistory())
			}
		})
	}
	t.Logf("%v", ends)
}

// Of many cancellations one counts. The others are told that it is over, or, while
// that one is being written, that the order is in other hands.
func TestHundredCancellations(t *testing.T) {
	withOrder(t, func(w *world, p *person, _ member, id string) {
		var all sync.WaitGroup
		var mu sync.Mutex
		told := make(map[string]int)
		for range 100 {
			all.Go(func() {
				_, err := p.cancel(id)
				mu.Lock()
				defer mu.Unlock()
				told[w.tell(err).reason]++
			})
		}
		all.Wait()
		if told[""] != 1 || told["ALREADY_TERMINAL"]+told["ALREADY_SENT"] != 99 || len(p.get(id).GetHistory()) != 2 {
			w.Errorf("%v", told)
		}
	})
}

func TestCancelAfterTheEnd(t *testing.T) {
	for what, s := range map[string]hubv1.ReportedState{"completed": completed, "refused": refused} {
		withOrder(t, func(w *world, p *person, shop member, id string) {
			shop.says(report(id, s), true, map[string]string{"completed": "COMPLETED", "refused": "REFUSED"}[what])
			before, jws := p.proof(id)
			_, err := p.cancel(id)
			w.wants(what, err, "ALREADY_TERMINAL", "")
			if after, again := p.proof(id); after != before || again != jws {
				w.Errorf("%s: the receipt changed", what)
			}
		})
	}
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, inReview), true, "IN_REVIEW")
		_, err := p.cancel(id)
		w.wants("in review", err, "ALREADY_SENT", "")
	})
}
