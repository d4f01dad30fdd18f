package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tongcha/tongcha/server/fault"
)

// domain marks a status as one of ours; its texts are written by us.
const domain = "tongcha"

// shortly is how long to wait where the server itself could not say.
const shortly = time.Second

// httpOnly holds the reasons for which HTTP has a code that gRPC lacks.
var httpOnly = map[fault.Reason]int{
	fault.MethodNotAllowed:   http.StatusMethodNotAllowed,
	fault.BodyTooLarge:       http.StatusRequestEntityTooLarge,
	fault.BodyTimeout:        http.StatusRequestTimeout,
	fault.ContentTypeInvalid: http.StatusUnsupportedMediaType,
}

// muxError answers an error from the gRPC server or from grpc-gateway.
func (h *handler) muxError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	h.write(w, h.clean(ctx, err))
}

// muxRouting is for a path that our table has and grpc-gateway hasn't: never,
// as long as the test of the table passes.
func (h *handler) muxRouting(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, _ int) {
	h.write(w, h.Status(fault.PathUnknown.New()))
}

// clean passes on a status of ours and replaces any other: grpc-gateway's own
// quote what was typed, and the gRPC client's describe our inside.
func (h *handler) clean(ctx context.Context, err error) *status.Status {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	if info, _ := details(st); info != nil {
		return st
	}
	c, code := callOf(ctx), st.Code()
	if code == codes.Canceled && ctx.Err() == nil {
		code = codes.Unavailable // the client is still there: our connection was closed
	}
	f := replacement(code, c.method)
	if f.Class() == fault.Internal {
		h.Logger.Error("status without a reason", "route", c.label, "code", code.String())
	}
	return h.Status(f)
}

// replacement is the fault that stands for a bare code. A bare INVALID_ARGUMENT
// is about what the method reads: a body, or a query.
func replacement(code codes.Code, method string) *fault.Error {
	switch code {
	case codes.InvalidArgument, codes.OutOfRange:
		if method == http.MethodGet {
			return fault.QueryInvalid.New()
		}
		return fault.BodyInvalid.New()
	case codes.Unavailable:
		return fault.ShuttingDown.New().WithRetry(shortly)
	case codes.ResourceExhausted:
		return fault.Overloaded.New().WithRetry(shortly)
	case codes.Unimplemented:
		return fault.MethodUnknown.New()
	case codes.Canceled:
		return fault.RequestCanceled.New()
	case codes.DeadlineExceeded:
		return fault.DeadlineExceeded.New()
	case codes.NotFound:
		return fault.PathUnknown.New()
	case codes.Unauthenticated:
		return fault.SessionInvalid.New()
	case codes.PermissionDenied:
		return fault.RoleDenied.New()
	default:
		return fault.InternalError.New()
	}
}

// details returns our ErrorInfo, nil where there is none, and the RetryInfo.
func details(st *status.Status) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				info = d
			}
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	return info, retry
}

// write answers with a status as JSON.
func (h *handler) write(w http.ResponseWriter, st *status.Status) {
	info, retry := details(st)
	text, err := marshal.Marshal(st.Proto())
	if err != nil { // a detail of a type that nobody here knows
		h.Logger.Error("status can't be printed", "reason", info.GetReason())
		st, retry, info = status.New(codes.Internal, fault.InternalError.Text("zh-CN")), nil, nil
		text, _ = marshal.Marshal(st.Proto())
	}
	if tight, err := compact(text); err == nil {
		text = tight
	}
	code := runtime.HTTPStatusFromCode(st.Code())
	if c, ok := httpOnly[fault.Reason(info.GetReason())]; ok {
		code = c
	}
	head := w.Header()
	head.Del("Trailer")
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(text)))
	if code == http.StatusUnauthorized {
		head.Set("WWW-Authenticate", "Bearer")
	}
	if retry != nil {
		head.Set("Retry-After", retryAfter(retry.GetRetryDelay().AsDuration()))
	}
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// retryAfter rounds up: a client that waits so long is never early.
func retryAfter(d time.Duration) string {
	seconds := d / time.Second
	if d%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(int64(max(seconds, 1)), 10)
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }
