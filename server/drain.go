package server

import (
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// drain is the switch that turns new work away and takes it again. The zero value
// is on neither; nothing of it is kept, so a hub that is started again serves.
type drain struct {
	mu      sync.Mutex
	on      bool
	closed  bool        // new work is refused
	closing *time.Timer // sets closed once the shutdown delay is over
}

// Drain makes /readyz fail at once. Once the shutdown delay is over, by which a
// load balancer has noticed, new work is refused and no more orders are sent.
// What runs goes on. Calling it again changes nothing.
func (h *Hub) Drain() {
	h.drain.mu.Lock()
	defer h.drain.mu.Unlock()
	if h.drain.on || !h.ready.Load() {
		return
	}
	h.drain.on = true
	h.rpc.SetServing(false)
	h.cfg.Logger.Info("draining", "delay", h.cfg.ShutdownDelay)
	if h.cfg.ShutdownDelay <= 0 {
		h.shut()
		return
	}
	h.drain.closing = time.AfterFunc(h.cfg.ShutdownDelay, func() {
		h.drain.mu.Lock()
		defer h.drain.mu.Unlock()
		if h.drain.on { // else Undrain came first
			h.shut()
		}
	})
}

// shut refuses new work; the mutex is held.
func (h *Hub) shut() {
	h.drain.closed = true
	h.rpc.SetAdmitting(false)
	h.dispatch.SetPaused(true)
}

// Undrain goes back to serving. Calling it again changes nothing.
//
// Errors: fault.ShuttingDown where the hub is stopping.
func (h *Hub) Undrain() error {
	h.drain.mu.Lock()
	defer h.drain.mu.Unlock()
	if !h.ready.Load() {
		return fault.ShuttingDown.New()
	}
	if !h.drain.on {
		return nil
	}
	h.drain.on, h.drain.closed = false, false
	if h.drain.closing != nil {
		h.drain.closing.Stop()
		h.drain.closing = nil
	}
	h.rpc.SetAdmitting(true)
	h.dispatch.SetPaused(false)
	h.rpc.SetServing(true)
	h.cfg.Logger.Info("serving again")
	return nil
}

// turnAway begins the stop: /readyz fails from now on, for good. It says how long
// the doors stay open so that a load balancer notices; not at all where a drain
// gave it that time.
func (h *Hub) turnAway() time.Duration {
	h.drain.mu.Lock()
	defer h.drain.mu.Unlock()
	h.ready.Store(false)
	h.rpc.SetServing(false)
	if h.drain.closing != nil {
		h.drain.closing.Stop()
	}
	if h.drain.closed {
		return 0
	}
	return h.cfg.ShutdownDelay
}

// draining says whether the hub turns work away, and whether it refuses it.
func (h *Hub) draining() (on, closed bool) {
	h.drain.mu.Lock()
	defer h.drain.mu.Unlock()
	return h.drain.on, h.drain.closed
}
