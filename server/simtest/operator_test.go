package simtest

import (
	"context"
	"time"
)

// operate is the operator: pauses sending, suspends platforms, and ends both.
func (w *world) operate() {
	rnd := w.rand("operator")
	for nap(w.ctx, time.Duration(rnd.ExpFloat64()*float64(2*day))) && !w.isWell() && !w.ledger.broken() {
		long := time.Duration(rnd.Float64() * float64(8*hour))
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
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.seen {
		if t := p.orders[id]; t != nil {
			p.w.later(p.between(0, day), func() { p.finish(t) })
		}
	}
}
