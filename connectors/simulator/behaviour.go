package simulator

import (
	"context"
	"math/rand/v2"
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
	interceptor grpc.UnaryServerInterceptor  // may be nil
	frames      grpc.StreamServerInterceptor // the same for streams
	noStream    bool
	visit       func(orderID string) bool // may be nil
	join        func()                    // waits for what runs behind the handler
}

func newParts(life context.Context, spec Spec, data *Data, at Endpoint) parts {
	b := base{data: data, id: spec.ID, delay: spec.Delay, stragglerShare: spec.StragglerShare, stragglerDelay: spec.StragglerDelay}
	p := parts{mode: sdk.ModeSync, join: func() {}}
	switch spec.Behaviour {
	case Sync, Slow:
		p.handler = prompt{b}
	case Silent:
		p.handler, p.interceptor, p.frames = prompt{b}, silence(life), loseFrames
	case Flapping:
		var lookups atomic.Int64
		fails := func() bool { return lookups.Add(1)%2 == 1 }
		p.handler, p.interceptor, p.noStream = prompt{b}, flap(fails), true
	case Refusing:
		p.handler = refusing{b, sdk.Refused(spec.Refusal, spec.RefusalText), max(spec.YieldsTo, 0)}
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

	stragglerShare float64 // of the answers to lookups has
	stragglerDelay time.Duration
}

// Lookup implements sdk.Handler.
func (b base) Lookup(ctx context.Context, s sdk.Subject) (sdk.Answer, error) {
	delay := b.delay
	if b.stragglerShare > 0 && rand.Float64() < b.stragglerShare {
		delay = b.stragglerDelay
	}
	if err := pause(ctx, delay, nil); err != nil {
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

// refusing refuses every order and removes nothing, until the person has appealed
// as often as yields says; 0 never yields.
type refusing struct {
	base
	outcome sdk.Outcome
	yields  int
}

// Unbind implements sdk.Unbinder.
func (r refusing) Unbind(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
	_, done := r.data.Effect(r.id, o.ID) // also after a restart, which forgets appeals
	if done || r.yields > 0 && o.Appeal >= r.yields {
		return r.carryOut(o)
	}
	return r.outcome, nil
}

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

// flap fails the lookup calls that fails says, and the first attempt of every
// order before it has any effect.
func flap(fails func() bool) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		failing := false
		switch r := req.(type) {
		case *connectorv1.LookupBindingsRequest:
			failing = fails()
		case *connectorv1.RequestUnbindRequest:
			failing = r.GetAttempt() <= 1
		}
		if failing {
			return nil, errFlapping
		}
		return next(ctx, req)
	}
}

var errFlapping = status.Error(codes.Unavailable, "flapping")

// loseFrames loses every frame of a stream, so that its questions are never
// answered.
func loseFrames(srv any, wire grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, losing{wire})
}

type losing struct{ grpc.ServerStream }

// RecvMsg returns frames without questions and loses all others.
func (l losing) RecvMsg(m any) error {
	for {
		if err := l.ServerStream.RecvMsg(m); err != nil {
			return err
		}
		if req, ok := m.(*connectorv1.StreamBindingsRequest); !ok || len(req.GetItems()) == 0 {
			return nil
		}
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
