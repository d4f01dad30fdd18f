package simulator

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// maxShown is how many accounts an answer may hold. A number with more of them
// shows its oldest; the others come up when those are gone.
const maxShown = 50

// parts is what makes up a behaviour.
type parts struct {
	handler     sdk.Handler
	mode        sdk.UnbindMode
	interceptor grpc.UnaryServerInterceptor // may be nil
	visit       func(orderID string) bool   // may be nil
	join        func()                      // waits for what runs behind the handler
}

func newParts(life context.Context, spec Spec, data *Data, at Endpoint) parts {
	b := base{data: data, id: spec.ID}
	p := parts{mode: sdk.ModeSync, join: func() {}}
	switch spec.Behaviour {
	case Sync:
		p.handler = prompt{b}
	case Slow:
		b.delay = spec.Delay
		p.handler = prompt{b}
	case Silent:
		p.handler, p.interceptor = prompt{b}, silence(life)
	case Flapping:
		p.handler, p.interceptor = prompt{b}, flap()
	case Refusing:
		p.handler = refusing{b, sdk.Refused(spec.Refusal, spec.RefusalText)}
	case Async, Redirecting:
		l := newLater(life, b, spec, at.Reporter)
		p.handler, p.mode, p.join = l, sdk.ModeAsync, l.tasks.Wait
		if spec.Behaviour == Redirecting {
			p.mode, p.visit = sdk.ModeRedirect, l.visit
		}
	}
	return p
}

// base looks up rows.
type base struct {
	data  *Data
	id    string
	delay time.Duration // before every answer
}

// Lookup implements sdk.Handler.
func (b base) Lookup(ctx context.Context, s sdk.Subject) (sdk.Answer, error) {
	if err := pause(ctx, b.delay, nil); err != nil {
		return sdk.Answer{}, err
	}
	accounts := b.data.Accounts(b.id, s.PhoneNumber)
	return sdk.Found(accounts[:min(len(accounts), maxShown)]...), nil
}

// carryOut makes the effect; it may be repeated.
func (b base) carryOut(o sdk.Order) (sdk.Outcome, error) {
	if _, err := b.data.Unbind(b.id, o); err != nil {
		return sdk.Outcome{}, err
	}
	return sdk.Completed(), nil
}

// prompt unbinds while the hub waits.
type prompt struct{ base }

// Unbind implements sdk.Unbinder.
func (p prompt) Unbind(ctx context.Context, o sdk.Order) (sdk.Outcome, error) {
	if err := pause(ctx, p.delay, nil); err != nil {
		return sdk.Outcome{}, err
	}
	return p.carryOut(o)
}

// refusing refuses every order and removes nothing.
type refusing struct {
	base
	outcome sdk.Outcome
}

// Unbind implements sdk.Unbinder.
func (r refusing) Unbind(context.Context, sdk.Order) (sdk.Outcome, error) { return r.outcome, nil }

// silence never answers any call but Describe until the caller leaves.
func silence(life context.Context) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		switch req.(type) {
		case *connectorv1.LookupBindingsRequest, *connectorv1.RequestUnbindRequest,
			*connectorv1.GetUnbindRequest, *connectorv1.NotifyNumberEventsRequest:
		default:
			return next(ctx, req)
		}
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-life.Done():
			return nil, status.Error(codes.Unavailable, "stopping")
		}
	}
}

// flap fails every other lookup call, beginning with the first, and the first
// attempt of every order before it has any effect.
func flap() grpc.UnaryServerInterceptor {
	var lookups atomic.Int64
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		fails := false
		switch r := req.(type) {
		case *connectorv1.LookupBindingsRequest:
			fails = lookups.Add(1)%2 == 1
		case *connectorv1.RequestUnbindRequest:
			fails = r.GetAttempt() <= 1
		}
		if fails {
			return nil, status.Error(codes.Unavailable, "flapping")
		}
		return next(ctx, req)
	}
}

// pause waits for d, or until hurry is closed, or until ctx ends, which is the
// only error. A negative d waits for the others alone.
func pause(ctx context.Context, d time.Duration, hurry <-chan struct{}) error {
	if d == 0 {
		return ctx.Err()
	}
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return nil
	case <-hurry:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
