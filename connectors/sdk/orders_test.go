package sdk_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

func withJournal(path string) func(*sdk.Config) {
	return func(c *sdk.Config) { c.OrderJournal = path }
}

func TestRepeatsHaveOneEffectAlsoAfterARestart(t *testing.T) {
	h, path := &unbinds{}, filepath.Join(t.TempDir(), "orders")
	for range 3 {
		p := sdktest.Start(t, h, withJournal(path))
		for range 5 {
			r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
			wantState(t, r, err, sdk.StateCompleted)
		}
		_, err := p.RequestUnbind(t.Context(), order("o-1", numberB))
		wantCode(t, err, codes.AlreadyExists)
		p.Stop()
	}
	if n := h.runs.Load(); n != 1 {
		t.Errorf("the handler ran %d times", n)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(b), "13800000001") {
		t.Errorf("journal = %s, %v", b, err)
	}
}

func TestConcurrentRepeatsWaitForTheSameRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &unbinds{do: func(context.Context, sdk.Order) (sdk.Outcome, error) {
			time.Sleep(time.Second)
			return sdk.Refused(sdk.HasDebt, "请先还清欠款"), nil
		}}
		p := sdktest.Start(t, h)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
				wantState(t, r, err, sdk.StateRefused)
				if r.GetResult().GetRefusalReason() != sdk.HasDebt {
					t.Errorf("reason = %v", r.GetResult().GetRefusalReason())
				}
			})
		}
		synctest.Wait()
		_, err := p.RequestUnbind(t.Context(), order("o-1", numberB))
		wantCode(t, err, codes.AlreadyExists)
		wg.Wait()
		if n := h.runs.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

func TestCallerThatLeavesDoesNotStopTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &unbinds{do: func(ctx context.Context, _ sdk.Order) (sdk.Outcome, error) {
			select {
			case <-time.After(2 * time.Second):
				return sdk.Completed(), nil
			case <-ctx.Done():
				return sdk.Outcome{}, ctx.Err()
			}
		}}
		p := sdktest.Start(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.RequestUnbind(ctx, order("o-1", numberA))
		wantCode(t, err, codes.DeadlineExceeded)
		r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
		wantState(t, r, err, sdk.StateCompleted)
		if n := h.runs.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

func TestFailedRunIsRepeatedAndNumberStays(t *testing.T) {
	fail := true
	h := &unbinds{}
	h.do = func(context.Context, sdk.Order) (sdk.Outcome, error) {
		if fail {
			fail = false
			return sdk.Outcome{}, errors.New("row of " + numberA + " is locked")
		}
		return sdk.Completed(), nil
	}
	path := filepath.Join(t.TempDir(), "orders")
	p := sdktest.Start(t, h, withJournal(path))
	_, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantCode(t, err, codes.Internal)
	if strings.Contains(err.Error(), "138") {
		t.Errorf("the text went out: %v", err)
	}
	p.Stop()
	p = sdktest.Start(t, h, withJournal(path))
	_, err = p.RequestUnbind(t.Context(), order("o-1", numberB))
	wantCode(t, err, codes.AlreadyExists)
	r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantState(t, r, err, sdk.StateCompleted)
}

func TestAsynchronousOrderIsPolledForwardOnly(t *testing.T) {
	h, path := &later{}, filepath.Join(t.TempDir(), "orders")
	h.do = func(context.Context, sdk.Order) (sdk.Outcome, error) { return sdk.Accepted(), nil }
	p := sdktest.Start(t, h, withJournal(path))
	get := func() (*connectorv1.GetUnbindResponse, error) {
		return p.GetUnbind(t.Context(), &connectorv1.GetUnbindRequest{OrderId: "o-1"})
	}
	_, err := get()
	wantCode(t, err, codes.NotFound)
	r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantState(t, r, err, sdk.StateAccepted)

	h.set("o-1", sdk.InReview())
	r, err = p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantState(t, r, err, sdk.StateInReview)
	h.set("o-1", sdk.Accepted()) // a step back
	g, err := get()
	wantState(t, g, err, sdk.StateInReview)

	h.set("o-1", sdk.Completed())
	g, err = get()
	wantState(t, g, err, sdk.StateCompleted)
	polls := h.polls
	h.set("o-1", sdk.Refused(sdk.Policy, ""))
	p.Stop()
	p = sdktest.Start(t, h, withJournal(path))
	g, err = get()
	wantState(t, g, err, sdk.StateCompleted)
	r, err = p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantState(t, r, err, sdk.StateCompleted)
	if h.polls != polls || h.runs.Load() != 1 {
		t.Errorf("a final order was asked about again: %d polls, %d runs", h.polls-polls, h.runs.Load())
	}
}

func TestOrderThatTheHandlerForgotBeginsAnew(t *testing.T) {
	h := &later{}
	h.do = func(context.Context, sdk.Order) (sdk.Outcome, error) { return sdk.Accepted(), nil }
	p := sdktest.Start(t, h)
	for range 2 {
		r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
		wantState(t, r, err, sdk.StateAccepted)
	}
	if n := h.runs.Load(); n != 2 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestTornJournalLineIsDropped(t *testing.T) {
	h, path := &unbinds{}, filepath.Join(t.TempDir(), "orders")
	p := sdktest.Start(t, h, withJournal(path))
	r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantState(t, r, err, sdk.StateCompleted)
	p.Stop()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"order_id":"o-2","dig`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 { // once to cut the line, once to see that what follows is whole
		p = sdktest.Start(t, h, withJournal(path))
		for _, id := range []string{"o-1", "o-2"} {
			r, err := p.RequestUnbind(t.Context(), order(id, numberA))
			wantState(t, r, err, sdk.StateCompleted)
		}
		p.Stop()
	}
	if n := h.runs.Load(); n != 2 {
		t.Errorf("the handler ran %d times, want once per order", n)
	}
}

func TestBadOutcomesAndOrders(t *testing.T) {
	for name, out := range map[string]sdk.Outcome{
		"zero":      {},
		"no reason": {State: sdk.StateRefused},
		"http":      sdk.ActionRequired("http://example.com"),
		"long text": sdk.Refused(sdk.Policy, strings.Repeat("长", 201)),
	} {
		t.Run(name, func(t *testing.T) {
			p := sdktest.Start(t, &unbinds{do: func(context.Context, sdk.Order) (sdk.Outcome, error) { return out, nil }})
			_, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
			wantCode(t, err, codes.Internal)
		})
	}
	p := sdktest.Start(t, &unbinds{})
	const canary = "77413399"
	noRefs := order("o-1", numberA)
	noRefs.AccountRefs = nil
	badRef := order("o-1", numberA)
	badRef.AccountRefs = []string{canary + "\n"}
	for name, req := range map[string]*connectorv1.RequestUnbindRequest{
		"no id": order("", numberA), "long id": order(strings.Repeat(canary, 9), numberA),
		"number": order("o-1", canary), "no refs": noRefs, "bad ref": badRef,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.RequestUnbind(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
			if strings.Contains(status.Convert(err).Message(), canary) {
				t.Errorf("echoed: %v", err)
			}
		})
	}
}

// slowStatus answers UnbindStatus late, with "unknown".
type slowStatus struct{ unbinds }

func (*slowStatus) UnbindStatus(context.Context, string) (sdk.Outcome, error) {
	time.Sleep(time.Second)
	return sdk.Outcome{}, sdk.ErrUnknownOrder
}

func TestOrderThatMeetsAPollIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, &slowStatus{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := p.GetUnbind(t.Context(), &connectorv1.GetUnbindRequest{OrderId: "o-1"})
			wantCode(t, err, codes.NotFound)
		})
		synctest.Wait()
		r, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
		wantState(t, r, err, sdk.StateCompleted)
		wg.Wait()
	})
}
