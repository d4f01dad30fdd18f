package rpc

import (
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// drainRetry is how soon a caller that a drained hub turned away should come
// back: by then the load balancer sends it elsewhere, or the next hub runs.
const drainRetry = 5 * time.Second

// door lets new work in until it is closed; it can be opened again.
type door struct {
	closed atomic.Bool
	inside atomic.Int64
}

// enter takes a place, which leave gives back. It counts before it looks, so that
// once the door is closed and nobody is inside, nobody will be.
//
// Errors: fault.ShuttingDown.
func (d *door) enter(method string) (leave func(), err error) {
	if _, isNew := kinds[method]; !isNew {
		return func() {}, nil
	}
	d.inside.Add(1)
	leave = func() { d.inside.Add(-1) }
	if d.closed.Load() {
		leave()
		return nil, fault.ShuttingDown.New().WithRetry(drainRetry)
	}
	return leave, nil
}

// SetAdmitting opens or closes every server to new verifications, lookups and
// unbind orders. Calls that have begun, and all other calls, go on.
func (s *Server) SetAdmitting(ok bool) { s.door.closed.Store(!ok) }

// NewWork is how many calls that begin new work are being answered.
func (s *Server) NewWork() int { return int(s.door.inside.Load()) }
