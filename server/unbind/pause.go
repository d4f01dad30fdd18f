package unbind

import "sync/atomic"

// pause keeps the dispatcher from claiming; it can be ended again.
type pause struct {
	on       atomic.Bool
	claiming atomic.Int64
}

// enter begins a round of claims; false while paused. It counts before it looks,
// so that once the pause is on and nobody claims, nobody will.
func (p *pause) enter() (leave func(), ok bool) {
	p.claiming.Add(1)
	leave = func() { p.claiming.Add(-1) }
	if p.on.Load() {
		leave()
		return nil, false
	}
	return leave, true
}

// SetPaused stops claiming orders or goes on with it. Attempts under way go on;
// orders wait and are sent when the pause ends or at the next start.
func (d *Dispatcher) SetPaused(on bool) {
	d.pause.on.Store(on)
	if !on {
		d.o.Service.Wake()
	}
}

// UnderWay is how many attempts are being made. A round of claims that may still
// begin some counts as one.
func (d *Dispatcher) UnderWay() int {
	n := int(d.pause.claiming.Load()) // first: what it begins counts as busy before it ends
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		n += l.busy
	}
	return n
}
