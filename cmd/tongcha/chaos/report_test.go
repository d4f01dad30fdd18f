//go:build chaos

package chaos

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// reports sends a platform's reports: each at a time by chance, again and again
// until a run of the hub has answered it.
type reports struct {
	w *witness

	mu       sync.Mutex
	run      int
	reporter *sdk.Reporter
}

// send reports in the background; a few come very late, after other runs.
func (r *reports) send(order string, out sdk.Outcome) {
	a := r.w.a
	wait := a.between(0, 200*time.Millisecond)
	if a.below(10) == 0 {
		wait = a.between(500*time.Millisecond, 1500*time.Millisecond)
	}
	a.background.Go(func() {
		for a.sleep(wait) {
			at, ok := a.victim.await(a.ctx, false)
			if !ok {
				return
			}
			if r.try(at, order, out) {
				return
			}
			wait = a.between(5*time.Millisecond, 50*time.Millisecond)
		}
	})
}

// try reports to one run of the hub; false when that run gave no answer.
func (r *reports) try(at hubRun, order string, out sdk.Outcome) bool {
	a := r.w.a
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	go func() {
		select {
		case <-at.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	go a.victim.reached(onReport) // beside the call, so that it may be anywhere in it
	got, err := r.at(at).Report(ctx, order, out)
	switch {
	case err == nil:
		a.victim.reached(onReported)
		if got.Applied && out.State == sdk.StateCompleted {
			a.ledger.add(record{What: recApplied, Platform: r.w.id, Order: order})
		}
		return true
	case ctx.Err() != nil || status.Code(err) == codes.Canceled:
		return false
	}
	a.ledger.breach("order %s: the hub refuses a report of %s: %v", order, r.w.id, err)
	return true
}

// at is the reporter to one run: another run listens elsewhere.
func (r *reports) at(run hubRun) *sdk.Reporter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run == run.number {
		return r.reporter
	}
	if r.reporter != nil {
		_ = r.reporter.Close()
	}
	one, err := sdk.NewReporter(sdk.ReporterConfig{
		HubAddress: "hub", PlatformID: r.w.id, Credentials: r.w.creds,
		Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", run.grpc)
		},
	})
	if err != nil {
		panic(err) // the credentials have worked before
	}
	r.run, r.reporter = run.number, one
	return one
}
