package link_test

import (
	"errors"
	"fmt"
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
	"github.com/tongcha/tongcha/server/platform"
)

// unbind sends an order to a connector that answers with u or err.
func unbind(t *testing.T, u *connectorv1.UnbindResult, err error) (platform.Report, time.Time, error) {
	t.Helper()
	var rep platform.Report
	var got error
	var at time.Time
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var seen *connectorv1.RequestUnbindRequest
		w.connector(&connector{
			unbind: func(r *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
				seen = r
				return &connectorv1.RequestUnbindResponse{Result: u}, err
			},
			status: func(*connectorv1.GetUnbindRequest) (*connectorv1.GetUnbindResponse, error) {
				return &connectorv1.GetUnbindResponse{Result: u}, err
			},
		})
		_, p := w.shop()
		at = time.Now()
		order := platform.UnbindOrder{
			OrderID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Number: mobile(t), AccountRefs: []string{"ref 1"},
			BoundBefore: at.Add(-time.Hour), Attempt: 2, Appeal: 1, DueTime: at.Add(time.Hour),
		}
		rep, got = p.Unbind(t.Context(), order)
		if seen.GetOrderId() != order.OrderID || seen.GetPhoneNumber() != number || seen.GetAttempt() != 2 || seen.GetAppeal() != 1 || seen.GetReason() != 1 ||
			!seen.GetBoundBefore().AsTime().Equal(order.BoundBefore) || !seen.GetDueTime().AsTime().Equal(order.DueTime) || len(seen.GetAccountRefs()) != 1 {
			t.Error("the order was not sent as it should be")
		}
		again, err := p.UnbindStatus(t.Context(), order.OrderID)
		if again != rep || fmt.Sprint(err) != fmt.Sprint(got) {
			t.Errorf("UnbindStatus says %+v %v, Unbind %+v %v", again, err, rep, got)
		}
		if s := w.logs.String() + fmt.Sprint(err); strings.Contains(s, "13800138000") {
			t.Errorf("a number leaks: %s", s)
		}
	})
	return rep, at, got
}

func TestReports(t *testing.T) {
	type result = connectorv1.UnbindResult
	for name, c := range map[string]struct {
		in   *result
		want platform.Report // Time: zero for now
	}{
		"accepted":  {&result{State: 1}, platform.Report{Stage: platform.StageInReview}},
		"in review": {&result{State: 2, CheckAfter: durationpb.New(time.Minute)}, platform.Report{Stage: platform.StageInReview, CheckAfter: time.Minute}},
		"completed": {&result{State: 3, CheckAfter: durationpb.New(time.Minute)}, platform.Report{Stage: platform.StageCompleted}},
		"refused": {&result{State: 4, RefusalReason: 1, RefusalText: "\u202e余额\n12.5 元，电话 13800138000、138 0013 8000 "},
			platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_BALANCE", RefusalText: "余额 12.5 元，电话 *******、*******"}},
		"long text": {&result{State: 4, RefusalReason: 14, RefusalText: strings.Repeat("长", 300)},
			platform.Report{Stage: platform.StageRefused, RefusalReason: "TECHNICAL", RefusalText: strings.Repeat("长", 200)}},
		"action":  {&result{State: 5, ActionUrl: "https://shop.example/a?b=c"}, platform.Report{Stage: platform.StageActionRequired, ActionURL: "https://shop.example/a?b=c"}},
		"wait -1": {&result{State: 1, CheckAfter: durationpb.New(-1)}, platform.Report{Stage: platform.StageInReview, CheckAfter: time.Second}},
		"wait 10 y": {&result{State: 1, CheckAfter: durationpb.New(10 * 365 * 24 * time.Hour)},
			platform.Report{Stage: platform.StageInReview, CheckAfter: 24 * time.Hour}},
		"wait invalid":  {&result{State: 1, CheckAfter: &durationpb.Duration{Seconds: 1 << 62}}, platform.Report{Stage: platform.StageInReview}},
		"future":        {&result{State: 3, StateTime: timestamppb.New(time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC))}, platform.Report{Stage: platform.StageCompleted}},
		"long ago":      {&result{State: 3, StateTime: timestamppb.New(time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC))}, platform.Report{Stage: platform.StageCompleted}},
		"broken time":   {&result{State: 3, StateTime: &timestamppb.Timestamp{Nanos: -1}}, platform.Report{Stage: platform.StageCompleted}},
		"ten days late": {&result{State: 3, StateTime: timestamppb.New(bubbleStart.AddDate(0, 0, -10))}, platform.Report{Stage: platform.StageCompleted, Time: bubbleStart.AddDate(0, 0, -10)}},
	} {
		got, now, err := unbind(t, c.in, nil)
		if c.want.Time.IsZero() {
			c.want.Time = now
		}
		if !got.Time.Equal(c.want.Time) {
			t.Errorf("%s: time %v", name, got.Time)
		}
		got.Time = c.want.Time
		if err != nil || got != c.want {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// bubbleStart is when every synctest bubble begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestMalformedReports(t *testing.T) {
	type result = connectorv1.UnbindResult
	action := func(url string) *result { return &result{State: 5, ActionUrl: url} }
	for name, in := range map[string]*result{
		"nothing":           nil,
		"state unset":       {},
		"state 99":          {State: 99},
		"state -1":          {State: -1},
		"refused, why":      {State: 4},
		"refused, 99":       {State: 4, RefusalReason: 99},
		"no url":            action(""),
		"http":              action("http://shop.example/"),
		"script":            action("javascript:alert(1)"),
		"user":              action("https://u:p@shop.example/"),
		"no host":           action("https:///a"),
		"relative":          action("//shop.example/a"),
		"control":           action("https://shop.example/\n"),
		"bidi":              action("https://shop.example/\u202ea"),
		"space":             action("https://shop.example/a b"),
		"long":              action("https://shop.example/" + strings.Repeat("a", 512)),
		"bad percent":       action("https://shop.example/%zz"),
		"too large for all": {State: 4, RefusalReason: 1, RefusalText: strings.Repeat("a", 300<<10)},
	} {
		_, _, err := unbind(t, in, nil)
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != platform.CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallErrors(t *testing.T) {
	names := []string{
		1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
		8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL",
		14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED", 17: "UNKNOWN", 99: "UNKNOWN",
	}
	for code, want := range names {
		if want == "" {
			continue
		}
		_, _, err := unbind(t, &connectorv1.UnbindResult{State: 3}, status.Error(codes.Code(code), "no "+number))
		if e, ok := errors.AsType[*platform.CallError](err); !ok || *e != (platform.CallError{Code: want}) {
			t.Errorf("%d: %v, want %s", code, err, want)
		}
	}
}

func TestRetryInfo(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{
		30 * time.Second: 30 * time.Second, -1: time.Second, 0: time.Second, 10 * 365 * 24 * time.Hour: 24 * time.Hour,
	} {
		s, err := status.New(codes.ResourceExhausted, number).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(in)})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = unbind(t, nil, s.Err())
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.RetryAfter != want || e.Code != platform.CodeResourceExhausted {
			t.Errorf("%v: %+v", in, err)
		}
	}
}

func TestUnbindEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hold := make(chan struct{})
		w.connector(&connector{unbind: func(*connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
			<-hold
			return nil, nil
		}})
		r, p := w.shop()
		defer close(hold)
		start := time.Now()
		_, err := p.Unbind(t.Context(), platform.UnbindOrder{Number: mobile(t)})
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != "DEADLINE_EXCEEDED" || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { r.Leave("shop") })
		_, err = p.Unbind(t.Context(), platform.UnbindOrder{Number: mobile(t)})
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != "UNAVAILABLE" {
			t.Errorf("%v of a platform that left", err)
		}
	})
}
