package rpc_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// TestDrain: a server that admits nothing new refuses what begins something, with
// a time to come back, and answers everything else; and it can be taken back.
func TestDrain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		order := p.orderAt("shop")
		l := p.look()
		id, code := w.code(request(otherNumber, suffix))
		w.server.SetAdmitting(false)

		_, err := w.verification().CreateVerification(w.Context(), request(number, suffix))
		refused := w.wants("a verification", err, "SHUTTING_DOWN", "")
		if refused.retry <= 0 {
			w.Error("a refusal without a time to come back")
		}
		_, err = p.create(nil, "")
		w.wants("a lookup", err, "SHUTTING_DOWN", "")
		_, err = p.unbinds.CreateUnbinds(p.ctx, &hubv1.CreateUnbindsRequest{LookupId: l.GetLookupId(), PlatformIds: []string{"shop"}, RequestId: "r"})
		w.wants("an order", err, "SHUTTING_DOWN", "")
		if strings.Contains(w.logs.String(), "level=ERROR") {
			w.Error("a refusal that an operator wished for is logged as an error")
		}

		began := time.Now()
		if l := p.finished(l.GetLookupId()); l.GetAnswered() == 0 || time.Since(began) == 0 {
			w.Errorf("the running lookup did not run on: %v", l)
		}
		p.get(order)
		_, err = p.unbinds.CancelUnbind(p.ctx, &hubv1.CancelUnbindRequest{UnbindId: order})
		w.must(err)
		_, err = w.confirm(id, code)
		w.must(err)

		w.server.SetAdmitting(true)
		p.look()
	})
}

// TestNewWork: a call that begins new work counts until it is answered.
func TestNewWork(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		w.carrier.say(func(c *carrier) { c.delay = time.Second })
		done := make(chan error, 1)
		go func() {
			_, err := p.create(nil, "")
			done <- err
		}()
		synctest.Wait()
		w.server.SetAdmitting(false)
		if n := w.server.NewWork(); n != 1 {
			w.Errorf("%d calls for new work, want 1", n)
		}
		w.must(<-done) // it was let in before the door closed
		if n := w.server.NewWork(); n != 0 {
			w.Errorf("%d calls for new work, want none", n)
		}
	})
}
