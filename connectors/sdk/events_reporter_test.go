package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

type listener struct {
	lookups
	seen []string
	err  error
}

func (l *listener) NumberEvent(_ context.Context, e sdk.NumberEvent) (sdk.EventOutcome, error) {
	l.seen = append(l.seen, e.ID)
	return sdk.EventApplied, l.err
}

func event(id, number string) *connectorv1.NumberEvent {
	return &connectorv1.NumberEvent{
		EventId: id, PhoneNumber: number, EventTime: timestamppb.Now(),
		Type: connectorv1.NumberEventType_NUMBER_EVENT_TYPE_CANCELLED,
	}
}

func TestNumberEvents(t *testing.T) {
	h := &listener{err: errors.New("not now")}
	p := sdktest.Start(t, h)
	notify := func(want ...sdk.EventOutcome) {
		t.Helper()
		r, err := p.NotifyNumberEvents(t.Context(), &connectorv1.NotifyNumberEventsRequest{
			Events: []*connectorv1.NumberEvent{event("e-1", numberA), event("e-2", "123"), {EventId: "e-3", PhoneNumber: numberA}},
		})
		if err != nil || len(r.GetResults()) != 3 {
			t.Fatal(r, err)
		}
		for i, res := range r.GetResults() {
			if res.GetOutcome() != want[i] || res.GetEventId() != fmt.Sprint("e-", i+1) {
				t.Errorf("result %d = %v", i, res)
			}
		}
	}
	notify(sdk.EventRetry, sdk.EventRejected, sdk.EventRejected)
	h.err = nil
	notify(sdk.EventApplied, sdk.EventRejected, sdk.EventRejected)
	notify(sdk.EventApplied, sdk.EventRejected, sdk.EventRejected)
	if len(h.seen) != 2 {
		t.Errorf("the handler saw %v, want e-1 until it was applied and never again", h.seen)
	}
	_, err := p.NotifyNumberEvents(t.Context(), &connectorv1.NotifyNumberEventsRequest{Events: make([]*connectorv1.NumberEvent, 1001)})
	wantCode(t, err, codes.InvalidArgument)
}

func TestReporterTriesUntilItGetsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := sdktest.NewAuthority(t)
		hub := sdktest.StartHub(t, a.Issue(sdk.RoleHub, "hub-1"))
		r := hub.Reporter(t, a, "shop")
		hub.Fail(codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted)
		got, err := r.Report(t.Context(), "o-1", sdk.Refused(sdk.HasBalance, "余额"))
		if err != nil || !got.Applied {
			t.Fatalf("Report = %+v, %v", got, err)
		}
		if reports := hub.Reports(); len(reports) != 1 || reports[0].GetRefusalReason() != "HAS_BALANCE" || reports[0].GetOrderId() != "o-1" {
			t.Errorf("reports = %v", reports)
		}
		hub.Fail(codes.NotFound)
		_, err = r.Report(t.Context(), "o-2", sdk.Completed())
		wantCode(t, err, codes.NotFound)
		if _, err = r.Report(t.Context(), "o-3", sdk.Accepted()); err == nil {
			t.Error("ACCEPTED was reported")
		}
	})
}

func TestReporterTalksOnlyToAHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := sdktest.NewAuthority(t)
		for name, creds := range map[string]sdk.Credentials{
			"a platform": a.Issue(sdk.RolePlatform, "shop"),
			"another CA": sdktest.NewAuthority(t).Issue(sdk.RoleHub, "hub-1"),
		} {
			hub := sdktest.StartHub(t, creds)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := hub.Reporter(t, a, "shop").Report(ctx, "o-1", sdk.Completed())
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || len(hub.Reports()) != 0 {
				t.Errorf("%s: err = %v, reports = %v", name, err, hub.Reports())
			}
		}
	})
}
