package simtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/unbind"
)

// operate is the operator: pauses sending, suspends platforms, and ends both.
func (w *world) operate() {
	rnd := w.rand("operator")
	for nap(w.ctx, time.Duration(rnd.ExpFloat64()*float64(2*day))) && !w.isWell() && !w.ledger.broken() {
		long := time.Duration(rnd.Float64() * float64(8*hour))
		w.settle(rnd, 0.4)
		if rnd.Float64() < 0.5 {
			w.pause(true)
			nap(w.ctx, long)
			w.pause(false)
			continue
		}
		p := w.peers[rnd.IntN(len(w.peers))]
		w.suspend(p, true)
		nap(w.ctx, min(4*long, time.Until(w.heals)))
		w.suspend(p, false)
	}
	w.at(w.heals.Add(time.Hour), func() { w.settle(rnd, 0.8) })
}

// settle replays a share of the dead letters and discards some.
func (w *world) settle(rnd *rand.Rand, share float64) {
	_ = w.call(func(ctx context.Context, r *run) error {
		dead, _, err := r.store.DeadLetters(ctx, unbind.DeadLetterQuery{Limit: 1000})
		for _, o := range dead {
			switch x := rnd.Float64(); {
			case x < share:
				w.ledger.reviving(string(o.Platform), o.ID, "replay")
				_, err = through(r, "Replay", func() (unbind.Order, error) { return r.store.Replay(ctx, o.ID, unbind.Replayed(time.Now())) })
			case x < share+0.1:
				w.ledger.discarding(string(o.Platform), o.ID)
				_, err = through(r, "Discard", func() (unbind.Order, error) {
					return r.store.Discard(ctx, o.ID, unbind.Discarded(time.Now(), "no use"))
				})
			}
			if err != nil && !errors.Is(err, fault.StoreFailed) {
				w.ledger.wrong("a dead letter is replayed or discarded", "%v", err)
			}
		}
		r.service.Wake()
		return err
	})
}

// deadLetters are all there are, page by page.
func (w *world) deadLetters() []unbind.Order {
	var all []unbind.Order
	for after := ""; ; {
		list, next, err := w.hub.store.DeadLetters(context.Background(), unbind.DeadLetterQuery{Limit: 3, After: after})
		w.must(err)
		all = append(all, list...)
		if next == "" {
			return all
		}
		after = next
	}
}

// appeal is what the hub does with an appeal.
func (r *run) appeal(ctx context.Context, s phone.Subject, id string) (unbind.Order, error) {
	now := time.Now()
	p := &wishes{Orders: r.store, r: r}
	o, err := p.Appeal(ctx, s, id, unbind.AppealedByPerson(now, now.Add(5*day), 0))
	r.service.Wake()
	return o, err
}

func (w *world) pause(on bool) {
	_ = w.call(func(_ context.Context, r *run) error {
		if on {
			r.dispatch.SetPaused(true)
			w.ledger.paused(true)
		} else {
			w.ledger.paused(false)
			r.dispatch.SetPaused(false)
		}
		return nil
	})
}

func (w *world) suspend(p *peer, on bool) {
	w.mu.Lock()
	w.suspended[p.id] = on
	w.mu.Unlock()
	if !on {
		w.ledger.suspended(string(p.id), false)
	}
	_ = w.call(func(_ context.Context, r *run) error {
		if r.roster != nil {
			if err := r.roster.Update(w.entry(p)); err != nil {
				return err
			}
		}
		r.service.Wake()
		return nil
	})
	if on {
		w.ledger.suspended(string(p.id), true)
	}
}

// heal lets a platform end all that it has taken.
func (p *peer) heal() {
	p.about("")
	defer p.mu.Unlock()
	for _, id := range p.seen {
		if t := p.orders[id]; t != nil {
			p.w.later(p.between(0, day), func() { p.finish(t) })
		}
	}
}
