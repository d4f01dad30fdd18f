package simtest

import (
	"context"
	"errors"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// port is the store as the hub has it: at some of its transactions the hub
// crashes, before the commit or after it, when nobody has been answered yet.
type port struct {
	unbind.Queue
	r *run
}

var errGone = errors.New("the hub is gone")

// through runs one transaction, and the crash before or after it.
func through[V any](r *run, op string, do func() (V, error)) (V, error) {
	var none V
	if r.dead.Load() || r.w.fate(r, "before the commit of "+op) {
		return none, fault.StoreFailed.New()
	}
	v, err := do()
	if r.dead.Load() || r.w.fate(r, "after the commit of "+op) {
		return none, fault.StoreFailed.New()
	}
	return v, err
}

// Enqueue implements unbind.Queue.
func (p *port) Enqueue(ctx context.Context, e unbind.Enqueue) ([]unbind.Placed, error) {
	return through(p.r, "Enqueue", func() ([]unbind.Placed, error) { return p.Queue.Enqueue(ctx, e) })
}

// Claim implements unbind.Queue.
func (p *port) Claim(ctx context.Context, c unbind.ClaimRequest) ([]unbind.Claim, time.Time, error) {
	if p.r.dead.Load() {
		return nil, time.Time{}, fault.StoreFailed.New()
	}
	return p.Queue.Claim(ctx, c)
}

// Finish implements unbind.Queue.
func (p *port) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	return through(p.r, "Finish", func() (unbind.Order, error) { return p.Queue.Finish(ctx, c, t) })
}

// Report implements unbind.Queue.
func (p *port) Report(ctx context.Context, id platform.ID, order string, t unbind.Transition) (unbind.Order, bool, error) {
	var changed bool
	o, err := through(p.r, "Report", func() (o unbind.Order, err error) {
		o, changed, err = p.Queue.Report(ctx, id, order, t)
		return o, err
	})
	return o, changed, err
}

// wishes is the same for what persons do with orders.
type wishes struct {
	unbind.Orders
	r *run
}

// Cancel implements unbind.Orders.
func (p *wishes) Cancel(ctx context.Context, s phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	return through(p.r, "Cancel", func() (unbind.Order, error) { return p.Orders.Cancel(ctx, s, id, t) })
}

// Appeal implements unbind.Orders.
func (p *wishes) Appeal(ctx context.Context, s phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	return through(p.r, "Appeal", func() (unbind.Order, error) { return p.Orders.Appeal(ctx, s, id, t) })
}
