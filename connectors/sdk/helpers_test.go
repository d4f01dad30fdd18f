package sdk_test

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
)

const (
	numberA = "+8613800000001"
	numberB = "+8613800000002"
	numberC = "+8613800000003"
)

// lookups is a handler that only looks up.
type lookups func(context.Context, sdk.Subject) (sdk.Answer, error)

func (f lookups) Lookup(ctx context.Context, s sdk.Subject) (sdk.Answer, error) { return f(ctx, s) }

// unbinds counts its orders; do may be nil for "completed".
type unbinds struct {
	runs atomic.Int32
	do   func(context.Context, sdk.Order) (sdk.Outcome, error)
}

func (u *unbinds) Lookup(context.Context, sdk.Subject) (sdk.Answer, error) { return sdk.NoData(), nil }

func (u *unbinds) Unbind(ctx context.Context, o sdk.Order) (sdk.Outcome, error) {
	u.runs.Add(1)
	if u.do != nil {
		return u.do(ctx, o)
	}
	return sdk.Completed(), nil
}

// later accepts orders and reports the state that the test sets.
type later struct {
	unbinds
	mu    sync.Mutex
	state map[string]sdk.Outcome
	polls int
}

func (l *later) UnbindStatus(_ context.Context, id string) (sdk.Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls++
	if o, ok := l.state[id]; ok {
		return o, nil
	}
	return sdk.Outcome{}, sdk.ErrUnknownOrder
}

func (l *later) set(id string, o sdk.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		l.state = map[string]sdk.Outcome{}
	}
	l.state[id] = o
}

func subject(n uint64, number string) *connectorv1.Subject {
	return &connectorv1.Subject{SubjectRef: binary.BigEndian.AppendUint64(make([]byte, 8), n), PhoneNumber: number}
}

func batch(within time.Duration, subjects ...*connectorv1.Subject) *connectorv1.LookupBindingsRequest {
	return &connectorv1.LookupBindingsRequest{Subjects: subjects, AnswerWithin: durationpb.New(within)}
}

func order(id, number string) *connectorv1.RequestUnbindRequest {
	return &connectorv1.RequestUnbindRequest{OrderId: id, PhoneNumber: number, AccountRefs: []string{"r"}, Attempt: 1}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code = %v, want %v (%v)", got, want, err)
	}
}

func wantState(t *testing.T, r interface {
	GetResult() *connectorv1.UnbindResult
}, err error, want sdk.UnbindState,
) {
	t.Helper()
	if err != nil || r.GetResult().GetState() != want {
		t.Errorf("state = %v, %v; want %v", r.GetResult().GetState(), err, want)
	}
}
