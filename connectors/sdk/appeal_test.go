package sdk_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

func appeal(id string, n int32) *connectorv1.RequestUnbindRequest {
	o := order(id, numberA)
	o.Appeal = n
	return o
}

// refusing refuses until the appeal that it grants.
func refusing(grants int) *unbinds {
	return &unbinds{do: func(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
		if o.Appeal >= grants {
			return sdk.Completed(), nil
		}
		return sdk.Refused(sdk.HasBalance, "余额"), nil
	}}
}

func TestAppealIsDecidedOnce(t *testing.T) {
	h, path := refusing(2), filepath.Join(t.TempDir(), "orders")
	runs := int32(0)
	for _, step := range []struct {
		appeal int32
		want   sdk.UnbindState
		runs   int32 // of the handler so far
	}{
		{0, sdk.StateRefused, 1},
		{1, sdk.StateRefused, 2},
		{0, sdk.StateRefused, 2}, // a repeat that was late
		{2, sdk.StateCompleted, 3},
		{1, sdk.StateCompleted, 3},
		{3, sdk.StateCompleted, 3}, // done stays done
	} {
		for range 2 { // the second time after a restart
			p := sdktest.Start(t, h, withJournal(path))
			for range 3 {
				r, err := p.RequestUnbind(t.Context(), appeal("o-1", step.appeal))
				wantState(t, r, err, step.want)
			}
			p.Stop()
			if runs = h.runs.Load(); runs != step.runs {
				t.Fatalf("appeal %d: the handler ran %d times, want %d", step.appeal, runs, step.runs)
			}
		}
	}
	p := sdktest.Start(t, h, withJournal(path))
	_, err := p.RequestUnbind(t.Context(), appeal("o-2", -1))
	wantCode(t, err, codes.InvalidArgument)
	other := appeal("o-1", 9)
	other.PhoneNumber = numberB
	_, err = p.RequestUnbind(t.Context(), other)
	wantCode(t, err, codes.AlreadyExists)
}

func TestAppealWithoutTheRefusal(t *testing.T) {
	h := refusing(1) // it lost its journal, or never got the order before
	p := sdktest.Start(t, h)
	for range 2 {
		r, err := p.RequestUnbind(t.Context(), appeal("o-1", 1))
		wantState(t, r, err, sdk.StateCompleted)
	}
	if n := h.runs.Load(); n != 1 {
		t.Errorf("the handler ran %d times", n)
	}
}

// An appeal that comes while the order is still being refused gets an answer of
// its own.
func TestAppealDoesNotJoinAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := refusing(1)
		decide := h.do
		h.do = func(ctx context.Context, o sdk.Order) (sdk.Outcome, error) {
			time.Sleep(time.Second)
			return decide(ctx, o)
		}
		p := sdktest.Start(t, h)
		var wg sync.WaitGroup
		wg.Go(func() {
			r, err := p.RequestUnbind(t.Context(), appeal("o-1", 0))
			wantState(t, r, err, sdk.StateRefused)
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				r, err := p.RequestUnbind(t.Context(), appeal("o-1", 1))
				wantState(t, r, err, sdk.StateCompleted)
			})
		}
		wg.Wait()
		if n := h.runs.Load(); n != 2 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

// A platform that decides later takes the appeal as it took the order: its state
// begins anew, and what it says of it afterwards counts.
func TestAppealThatIsDecidedLater(t *testing.T) {
	h, path := &later{}, filepath.Join(t.TempDir(), "orders")
	h.do = func(context.Context, sdk.Order) (sdk.Outcome, error) { return sdk.Accepted(), nil }
	p := sdktest.Start(t, h, withJournal(path))
	get := func(want sdk.UnbindState) {
		t.Helper()
		r, err := p.GetUnbind(t.Context(), &connectorv1.GetUnbindRequest{OrderId: "o-1"})
		wantState(t, r, err, want)
	}
	r, err := p.RequestUnbind(t.Context(), appeal("o-1", 0))
	wantState(t, r, err, sdk.StateAccepted)
	// The refusal went to the hub as a report; nobody asked for it here.
	h.set("o-1", sdk.Refused(sdk.Policy, ""))
	r, err = p.RequestUnbind(t.Context(), appeal("o-1", 1))
	wantState(t, r, err, sdk.StateAccepted)
	h.set("o-1", sdk.InReview())
	get(sdk.StateInReview)
	h.set("o-1", sdk.Refused(sdk.Policy, "")) // the second one, and seen
	get(sdk.StateRefused)
	p.Stop()
	p = sdktest.Start(t, h, withJournal(path))
	get(sdk.StateRefused)
	r, err = p.RequestUnbind(t.Context(), appeal("o-1", 2))
	wantState(t, r, err, sdk.StateAccepted)
	h.set("o-1", sdk.Completed())
	get(sdk.StateCompleted)
	if n := h.runs.Load(); n != 3 {
		t.Errorf("the handler ran %d times", n)
	}
}

// A run for an appeal that fails leaves the refusal, and the appeal is tried again.
func TestAppealThatFailedIsRepeated(t *testing.T) {
	h := refusing(1)
	decide, fail := h.do, true
	h.do = func(ctx context.Context, o sdk.Order) (sdk.Outcome, error) {
		if o.Appeal > 0 && fail {
			fail = false
			return sdk.Outcome{}, context.DeadlineExceeded
		}
		return decide(ctx, o)
	}
	p := sdktest.Start(t, h)
	r, err := p.RequestUnbind(t.Context(), appeal("o-1", 0))
	wantState(t, r, err, sdk.StateRefused)
	_, err = p.RequestUnbind(t.Context(), appeal("o-1", 1))
	wantCode(t, err, codes.Unavailable)
	r, err = p.RequestUnbind(t.Context(), appeal("o-1", 0))
	wantState(t, r, err, sdk.StateRefused)
	r, err = p.RequestUnbind(t.Context(), appeal("o-1", 1))
	wantState(t, r, err, sdk.StateCompleted)
}
