package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/rpc"
)

// codesOf is what each reason is over gRPC.
var codesOf = map[codes.Code][]fault.Reason{
	codes.Internal: {fault.InternalError, fault.LeaseLost},
	codes.InvalidArgument: {
		fault.BodyInvalid, fault.BodyTooLarge, fault.BodyTimeout, fault.ContentTypeInvalid, fault.QueryInvalid, fault.PhoneInvalid, fault.IDSuffixInvalid,
		fault.DocumentTypeInvalid, fault.ChannelUnsupported, fault.CodeInvalid, fault.WaitInvalid, fault.PageTokenInvalid, fault.RequestIDInvalid,
		fault.PlatformUnknown, fault.PlatformsInvalid, fault.ReportInvalid, fault.TimeInvalid, fault.PlatformIDInvalid, fault.AddressInvalid,
		fault.NameInvalid, fault.CategoryInvalid, fault.RoleInvalid, fault.StateInvalid, fault.NoteInvalid, fault.SelectionInvalid,
		fault.DateInvalid, fault.GroupInvalid, fault.CatalogueInvalid,
	},
	codes.Unauthenticated:    {fault.SessionInvalid},
	codes.PermissionDenied:   {fault.RoleDenied, fault.VerificationFailed},
	codes.NotFound:           {fault.PathUnknown, fault.LookupNotFound, fault.UnbindNotFound},
	codes.AlreadyExists:      {fault.RequestIDReused, fault.PlatformExists},
	codes.ResourceExhausted:  {fault.Overloaded, fault.CodeResendTooSoon, fault.DailyLimit, fault.LookupRate, fault.CheckRate},
	codes.Unavailable:        {fault.StoreFailed, fault.StorageFull, fault.ShuttingDown, fault.SMSUnavailable, fault.CarrierUnavailable},
	codes.Unimplemented:      {fault.MethodUnknown, fault.MethodNotAllowed},
	codes.Canceled:           {fault.RequestCanceled},
	codes.DeadlineExceeded:   {fault.DeadlineExceeded},
	codes.FailedPrecondition: {fault.ConsentRequired, fault.NotLookedUp, fault.NothingToUnbind, fault.HolderUnattested, fault.UnbindUnsupported, fault.AlreadyTerminal, fault.AlreadySent, fault.PlatformState, fault.NotRefused, fault.AppealLimit, fault.AppealTooLate, fault.NotAbandoned},
}

// failing calls a method that fails with the error, over a real connection.
func (w *world) failing(fail func() error) error {
	w.coverage = func(context.Context, coverage.Query) (coverage.Report, error) { return coverage.Report{}, fail() }
	_, err := oversightv1.NewCoverageServiceClient(w.gateway).GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{})
	return err
}

func open(s *settings) { s.openCoverage = true }

func TestStatusOfEveryReason(t *testing.T) {
	inWorld(t, open, func(w *world) {
		seen := make(map[fault.Reason]bool)
		for code, reasons := range codesOf {
			for _, r := range reasons {
				seen[r] = true
				w.checkStatus(r, code)
			}
		}
		for _, r := range fault.Reasons() {
			if !seen[r] {
				w.Errorf("%s has no row here", r)
			}
		}
	})
}

func (w *world) checkStatus(r fault.Reason, code codes.Code) {
	w.Helper()
	const secret = "cause 13912349876"
	w.secret(secret)
	full := r.Wrap(errors.New("cause is hidden")).With("a", "1").With("b", "2").WithRetry(1500 * time.Millisecond)
	full.Field = "some.field[3]"
	got := w.tell(w.failing(func() error { return fmt.Errorf("handler: %w", fmt.Errorf("service: %w", full)) }))
	switch {
	case got.code != code:
		w.Errorf("%s: %v, want %v", r, got.code, code)
	case got.reason != string(r) || got.info.GetDomain() != rpc.Domain || rpc.Domain != "tongcha":
		w.Errorf("%s: ErrorInfo %v", r, got.info)
	case !maps.Equal(got.meta, map[string]string{"a": "1", "b": "2"}):
		w.Errorf("%s: metadata %v", r, got.meta)
	case got.field != full.Field || got.retry != full.RetryAfter:
		w.Errorf("%s: field %q, retry %v", r, got.field, got.retry)
	case got.texts["zh-CN"] != r.Text("zh-CN") || got.texts["en"] != r.Text("en") || got.texts["en"] == "" || got.texts["zh-CN"] == "":
		w.Errorf("%s: texts %v", r, got.texts)
	case strings.Contains(string(got.status), "cause"):
		w.Errorf("%s: the cause is shown", r)
	}
	bare := status.Convert(w.failing(func() error { return fmt.Errorf("bare: %w", r) }))
	if bare.Code() != code || len(bare.Details()) != 3 || bare.Message() != r.Text("en") {
		w.Errorf("%s as a bare reason: %v", r, bare)
	}
}

func TestStatusOfOtherErrors(t *testing.T) {
	inWorld(t, open, func(w *world) {
		const secret = "13912349876"
		for what, c := range map[string]struct {
			err  error
			code codes.Code
		}{
			"unknown":              {errors.New("it broke"), codes.Internal},
			"cancelled":            {context.Canceled, codes.Canceled},
			"deadline":             {context.DeadlineExceeded, codes.DeadlineExceeded},
			"wrapped cancelled":    {fmt.Errorf("ask: %w", context.Canceled), codes.Canceled},
			"wrapped deadline":     {fmt.Errorf("ask: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
			"joined":               {errors.Join(errors.New("other"), fault.ShuttingDown.New()), codes.Unavailable},
			"somebody's status":    {status.Error(codes.NotFound, "no user "+secret), codes.Internal},
			"wrapped status":       {fmt.Errorf("connector: %w", status.Error(codes.DataLoss, secret)), codes.Internal},
			"an unlisted reason":   {fault.Reason("NEW").New(), codes.Internal},
			"a fault beats status": {fault.CarrierUnavailable.Wrap(status.Error(codes.OK, secret)), codes.Unavailable},
		} {
			err := w.failing(func() error { return c.err })
			got := w.tell(err)
			if got.code != c.code || got.info.GetDomain() != "tongcha" || len(got.texts) != 2 {
				w.Errorf("%s: %v", what, err)
			}
			if text := string(got.status); strings.Contains(text, secret) || strings.Contains(text, "broke") {
				w.Errorf("%s shows its cause: %q", what, text)
			}
		}
	})
}

func TestPanicsStayInside(t *testing.T) {
	inWorld(t, open, func(w *world) {
		w.secret("13912349876")
		for _, value := range []any{"panicked with 13912349876", errors.New("13912349876"), struct{ n string }{"13912349876"}} {
			got := w.wants("panic", w.failing(func() error { panic(value) }), "INTERNAL", "")
			if text := string(got.status); got.code != codes.Internal || strings.Contains(text, "goroutine") || strings.Contains(text, ".go:") {
				w.Errorf("a panic shows its stack: %q", text)
			}
		}
		w.wants("a nil pointer", w.failing(func() error { var p *world; return p.failing(nil) }), "INTERNAL", "")
		if log := w.logs.String(); !strings.Contains(log, "panic in a handler") || !strings.Contains(log, "status_test.go") {
			w.Error("the log has no stack")
		}
	})
}

func TestPanicsInTheAuthorisationStayInside(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.isMember = func(string) bool { panic("13912349876") }
		w.secret("13912349876")
		_, err := hubv1.NewMembershipServiceClient(w.as(pki.RolePlatform, "shop")).ReportUnbind(w.Context(), &hubv1.ReportUnbindRequest{})
		w.wants("a panic before the handler", err, "INTERNAL", "")
	})
}
