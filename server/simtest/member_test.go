package simtest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/seal"
)

// lookup is what the platform answers about a number: the accounts bound before
// the holder, and those since. Sometimes an old one turns up that it had missed.
func (p *peer) lookup(number string, since time.Time) (old, own []string) {
	p.about(number)
	defer p.mu.Unlock()
	add := func(at time.Time) {
		p.named++
		p.accounts[number] = append(p.accounts[number], account{ref: fmt.Sprintf("%s-%d", p.id, p.named), bound: at})
	}
	for range p.rnd.IntN(3) {
		add(since.Add(-1 - p.between(0, 300*day)))
	}
	if p.chance(0.3) {
		add(since.Add(p.between(0, time.Since(since))))
	}
	for _, a := range p.accounts[number] {
		if a.bound.Before(since) {
			old = append(old, a.ref)
		} else {
			own = append(own, a.ref)
		}
	}
	return old, own
}

// rebind lets the holder sign in anew with accounts that an order may name.
func (p *peer) rebind(number string) {
	p.about(number)
	defer p.mu.Unlock()
	for i := range p.accounts[number] {
		if p.chance(0.5) {
			p.accounts[number][i].bound = time.Now()
		}
	}
}

// visit is the person on the platform's page.
func (p *peer) visit(id string) {
	p.about("")
	defer p.mu.Unlock()
	if t := p.orders[id]; t != nil && t.stage == "ACTION_REQUIRED" {
		p.end(t, "COMPLETED")
	}
}

// word is one report that a platform will make.
type word struct {
	id, stage, reason string
	appeal            int
	at                time.Time
	in                time.Duration
}

// words are the reports that follow the end of an order. The lock is held.
func (p *peer) words(t *taken, began time.Time) []word {
	var out []word
	if p.w.isWell() || !p.chance(p.reports) {
		return nil // the hub will ask
	}
	for range p.copies {
		out = append(out, word{t.id, t.stage, t.reason, t.appeal, t.at, p.between(0, p.lateness)})
		if p.wild {
			out = append(out, word{t.id, "IN_REVIEW", "", t.appeal, began, p.between(0, p.lateness)},
				word{t.id, t.stage, t.reason, t.appeal, time.Time{}, p.between(0, p.lateness)})
		}
		if p.contrary {
			out = append(out, word{t.id, p.opposite(t.stage), "POLICY", t.appeal, time.Now(), p.between(0, p.lateness)})
		}
	}
	if !p.wild {
		return out
	}
	for _, shift := range []time.Duration{-365 * day, 365 * day} {
		out = append(out, word{t.id, "ACTION_REQUIRED", "", t.appeal, t.at.Add(shift), p.between(0, p.lateness)})
	}
	alien := p.w.peers[p.rnd.IntN(len(p.w.peers))].anyOrder(p)
	for _, id := range []string{seal.NewID(time.Now()), "", strings.Repeat("z", 300), alien} {
		out = append(out, word{id, "COMPLETED", "", 0, time.Now(), p.between(0, p.lateness)})
	}
	return out
}

func (p *peer) opposite(stage string) string {
	if stage == "COMPLETED" {
		return "REFUSED"
	}
	return "COMPLETED"
}

// anyOrder is the id of another platform's order. The asking platform's lock is
// held, so this takes the ledger's instead of p's own.
func (p *peer) anyOrder(asking *peer) string { return p.w.ledger.orderOf(string(asking.id)) }

// orderOf is an order of another platform than that; "" for none.
func (g *ledger) orderOf(other string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.wishes {
		if w.platform != other && w.id != "" {
			return w.id
		}
	}
	return ""
}

// tell reports where an order stands, three times if it has to.
func (p *peer) tell(w word) {
	for range 3 {
		if p.w.ledger.broken() || p.report(w) == nil {
			return
		}
		if !nap(p.w.ctx, time.Minute) {
			return
		}
	}
}

func (p *peer) report(w word) error {
	id, stage, reason, at := w.id, w.stage, w.reason, w.at
	p.w.ledger.says(string(p.id), id, strings.TrimSpace(stage+" "+cutReason(stage, reason)), w.appeal)
	ctx, cancel := context.WithTimeout(p.w.ctx, 5*time.Second)
	defer cancel()
	if stage == "ACCEPTED" {
		stage = "IN_REVIEW"
	}
	if p.w.o.direct {
		var state string
		err := p.w.call(func(_ context.Context, r *run) error {
			o, _, err := r.service.Report(ctx, p.id, id, reportOf(stage, reason, at))
			state = o.State.String()
			return err
		})
		if err == nil {
			p.w.ledger.tookReport(string(p.id), id, state)
		}
		return nil
	}
	when := timestamppb.New(at)
	if at.IsZero() {
		when = nil
	}
	resp, err := p.members.ReportUnbind(ctx, &hubv1.ReportUnbindRequest{
		OrderId: id, State: hubv1.ReportedState(hubv1.ReportedState_value["REPORTED_STATE_"+stage]), RefusalReason: cutReason(stage, reason),
		ActionUrl: page, StateTime: when,
	})
	if err == nil {
		p.w.ledger.tookReport(string(p.id), id, resp.GetState())
	}
	return err
}

func cutReason(stage, reason string) string {
	if stage == "REFUSED" {
		return reason
	}
	return ""
}
