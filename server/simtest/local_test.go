package simtest

import (
	"context"

	"github.com/tongcha/tongcha/server/platform"
)

// alive lets no call begin after a crash: an attempt that was about to be made by
// a process that is gone.
type alive struct {
	platform.Platform
	r *run
}

// Unbind implements platform.Platform.
func (a alive) Unbind(ctx context.Context, o platform.UnbindOrder) (platform.Report, error) {
	if a.r.dead.Load() {
		return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
	}
	return a.Platform.Unbind(ctx, o)
}

// UnbindStatus implements platform.Platform.
func (a alive) UnbindStatus(ctx context.Context, id string) (platform.Report, error) {
	if a.r.dead.Load() {
		return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
	}
	return a.Platform.UnbindStatus(ctx, id)
}

// local is a platform that is not reached over gRPC.
type local struct{ *peer }

// Info implements platform.Platform.
func (l local) Info() platform.Info { return platform.Info{Entry: l.w.entry(l.peer), MaxBatch: 1} }

// Ask implements platform.Platform; nobody looks anything up.
func (local) Ask(*platform.Call) {}

// Withdraw implements platform.Platform.
func (local) Withdraw(*platform.Call) {}

// Unbind implements platform.Platform.
func (l local) Unbind(ctx context.Context, o platform.UnbindOrder) (platform.Report, error) {
	s := sending{id: o.OrderID, number: o.Number.E164(), refs: o.AccountRefs, before: o.BoundBefore, attempt: o.Attempt, appeal: o.Appeal, run: l.w.runNumber()}
	return l.within(ctx, func() reply { return l.unbind(ctx, s) })
}

// UnbindStatus implements platform.Platform.
func (l local) UnbindStatus(ctx context.Context, id string) (platform.Report, error) {
	run := l.w.runNumber()
	return l.within(ctx, func() reply { return l.status(ctx, id, run) })
}

// within hangs up when ctx ends, whatever the platform does then.
func (l local) within(ctx context.Context, call func() reply) (platform.Report, error) {
	answer := make(chan reply, 1)
	l.w.all.Go(func() { answer <- call() })
	select {
	case r := <-answer:
		return r.report()
	case <-ctx.Done():
		return platform.Report{}, &platform.CallError{Code: "DEADLINE_EXCEEDED"}
	}
}
