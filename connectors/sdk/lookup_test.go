package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

const (
	bound     = connectorv1.BindingState_BINDING_STATE_BOUND
	notBound  = connectorv1.BindingState_BINDING_STATE_NOT_BOUND
	noData    = connectorv1.BindingState_BINDING_STATE_NO_DATA
	notInTime = connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME
)

func states(r *connectorv1.LookupBindingsResponse) []connectorv1.BindingState {
	var out []connectorv1.BindingState
	for _, a := range r.GetAnswers() {
		out = append(out, a.GetState())
	}
	return out
}

func TestSlowItemDoesNotHoldItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(ctx context.Context, s sdk.Subject) (sdk.Answer, error) {
			switch s.PhoneNumber {
			case numberA: // ready, but after the one behind it
				time.Sleep(100 * time.Millisecond)
				return sdk.Found(sdk.Account{Ref: "a"}), nil
			case numberB:
				<-ctx.Done()
				return sdk.Answer{}, ctx.Err()
			default:
				return sdk.Found(), nil
			}
		}))
		req := batch(time.Second, subject(1, numberA), subject(2, numberB), subject(3, numberC))
		begin := time.Now()
		resp, err := p.LookupBindings(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("answered after %v of virtual time, want within 1s", took)
		}
		if got := states(resp); !slices.Equal(got, []connectorv1.BindingState{bound, notInTime, notBound}) {
			t.Errorf("states = %v", got)
		}
		for i, a := range resp.GetAnswers() {
			if !slices.Equal(a.GetSubjectRef(), req.GetSubjects()[i].GetSubjectRef()) {
				t.Errorf("answer %d echoes another subject", i)
			}
		}
	})
}

func TestItemsRunSideBySideWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
			time.Sleep(100 * time.Millisecond)
			return sdk.Found(), nil
		}), func(c *sdk.Config) { c.Concurrency = 2 })
		var subjects []*connectorv1.Subject
		for i := range 6 {
			subjects = append(subjects, subject(uint64(i), numberA))
		}
		begin := time.Now()
		if _, err := p.LookupBindings(t.Context(), batch(time.Second, subjects...)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 300*time.Millisecond {
			t.Errorf("6 items of 100ms, two at a time, took %v of virtual time", took)
		}
	})
}

func TestItemThatFailsIsNeverNone(t *testing.T) {
	many := make([]sdk.Account, 51)
	for i := range many {
		many[i].Ref = fmt.Sprint("r", i)
	}
	bad := map[string]func() (sdk.Answer, error){
		"error":       func() (sdk.Answer, error) { return sdk.Answer{}, errors.New("database of " + numberA) },
		"panic":       func() (sdk.Answer, error) { panic("x") },
		"zero answer": func() (sdk.Answer, error) { return sdk.Answer{}, nil },
		"51 accounts": func() (sdk.Answer, error) { return sdk.Found(many...), nil },
		"empty ref":   func() (sdk.Answer, error) { return sdk.Found(sdk.Account{}), nil },
		"long ref":    func() (sdk.Answer, error) { return sdk.Found(sdk.Account{Ref: strings.Repeat("r", 65)}), nil },
		"bad ref":     func() (sdk.Answer, error) { return sdk.Found(sdk.Account{Ref: "张"}), nil },
	}
	for name, f := range bad {
		t.Run(name, func(t *testing.T) {
			p := sdktest.Start(t, lookups(func(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
				if s.PhoneNumber == numberA {
					return f()
				}
				return sdk.NoData(), nil
			}))
			resp, err := p.LookupBindings(t.Context(), batch(time.Minute, subject(1, numberA), subject(2, numberB)))
			if err != nil {
				t.Fatal(err)
			}
			if got := states(resp); !slices.Equal(got, []connectorv1.BindingState{notInTime, noData}) {
				t.Errorf("states = %v", got)
			}
		})
	}
}

func TestUnavailableHandlerFailsTheCallWithoutItsText(t *testing.T) {
	p := sdktest.Start(t, lookups(func(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
		return sdk.Answer{}, status.Error(codes.Unavailable, "no route for "+s.PhoneNumber)
	}))
	_, err := p.LookupBindings(t.Context(), batch(time.Minute, subject(1, numberA)))
	wantCode(t, err, codes.Unavailable)
	if strings.Contains(err.Error(), "138") {
		t.Errorf("the text went out: %v", err)
	}
}

func TestPeriods(t *testing.T) {
	since := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
		return sdk.Found(
			sdk.Account{Ref: "before", BoundAt: since.Add(-time.Nanosecond)},
			sdk.Account{Ref: "same", BoundAt: since},
			sdk.Account{Ref: "unknown"},
		), nil
	}))
	with, without := subject(1, numberA), subject(2, numberA)
	with.HolderSince = timestamppb.New(since)
	resp, err := p.LookupBindings(t.Context(), batch(time.Minute, with, without))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]connectorv1.AccountPeriod{
		{connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER, connectorv1.AccountPeriod_ACCOUNT_PERIOD_SINCE_HOLDER, connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN},
		{connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN, connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN, connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN},
	}
	for i, a := range resp.GetAnswers() {
		for k, acc := range a.GetAccounts() {
			if acc.GetPeriod() != want[i][k] {
				t.Errorf("subject %d, account %s: %v", i, acc.GetAccountRef(), acc.GetPeriod())
			}
		}
	}
}

func TestMalformedLookupsAreNotEchoed(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing), func(c *sdk.Config) { c.MaxBatch = 2 })
	const canary = "77413399"
	ref := subject(1, numberA)
	ref.SubjectRef = []byte(canary)
	since := subject(1, numberA)
	since.HolderSince = &timestamppb.Timestamp{Nanos: -77413399}
	for name, req := range map[string]*connectorv1.LookupBindingsRequest{
		"none":       batch(time.Second),
		"too many":   batch(time.Second, subject(1, numberA), subject(2, numberA), subject(3, numberA)),
		"no within":  {Subjects: []*connectorv1.Subject{subject(1, numberA)}},
		"minus":      batch(-time.Second, subject(1, numberA)),
		"short ref":  batch(time.Second, ref),
		"twice":      batch(time.Second, subject(1, numberA), subject(1, numberB)),
		"landline":   batch(time.Second, subject(1, "+861"+canary)),
		"no country": batch(time.Second, subject(1, "138"+canary)),
		"letters":    batch(time.Second, subject(1, "+8613"+canary+"x")),
		"time":       batch(time.Second, since),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.LookupBindings(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("echoed: %v", err)
			}
		})
	}
}

func TestOversizedRequestIsRefused(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing))
	big := subject(1, strings.Repeat("1", 257<<10))
	_, err := p.LookupBindings(t.Context(), batch(time.Second, big))
	wantCode(t, err, codes.ResourceExhausted)
}

func TestRetryInfoReachesTheHub(t *testing.T) {
	p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
		st, err := status.New(codes.ResourceExhausted, "over the rate").WithDetails(
			&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)},
			&errdetails.DebugInfo{Detail: numberA})
		if err != nil {
			return sdk.Answer{}, err
		}
		return sdk.Answer{}, fmt.Errorf("limiter: %w", st.Err())
	}))
	_, err := p.LookupBindings(t.Context(), batch(time.Minute, subject(1, numberA)))
	wantCode(t, err, codes.ResourceExhausted)
	details := status.Convert(err).Details()
	if len(details) != 1 {
		t.Fatalf("details = %v, want RetryInfo alone", details)
	}
	if r, ok := details[0].(*errdetails.RetryInfo); !ok || r.GetRetryDelay().AsDuration() != 7*time.Second {
		t.Errorf("detail = %v", details[0])
	}
}
