package server

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// stepped is told how long the store took to record new work, waiting for other
// writers and the commit included. It is the one sign of load that admission
// goes by: a busy processor and a slow disk both show in it, and no platform, no
// carrier and no SMS gateway does.
func (h *Hub) stepped(step string, began time.Time) {
	took := time.Since(began)
	h.metrics.steps.WithLabelValues(step).Observe(took.Seconds())
	h.rpc.Stepped(took)
}

type stepFunc func(step string, began time.Time)

type timedCodes struct {
	verify.Store
	stepped stepFunc
}

// OpenVerification is the store's.
func (t timedCodes) OpenVerification(ctx context.Context, v verify.Verification, l verify.Limits) error {
	defer t.stepped("verification", time.Now())
	return t.Store.OpenVerification(ctx, v, l)
}

type timedLookups struct {
	lookup.Store
	stepped stepFunc
}

// Create is the store's.
func (t timedLookups) Create(ctx context.Context, l lookup.Lookup, a lookup.Admission) (string, error) {
	defer t.stepped("lookup", time.Now())
	return t.Store.Create(ctx, l, a)
}

type timedQueue struct {
	unbind.Queue
	stepped stepFunc
}

// Enqueue is the store's.
func (t timedQueue) Enqueue(ctx context.Context, e unbind.Enqueue) ([]unbind.Placed, error) {
	defer t.stepped("unbind", time.Now())
	return t.Queue.Enqueue(ctx, e)
}
