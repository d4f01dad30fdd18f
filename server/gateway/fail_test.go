package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tongcha/tongcha/server/fault"
)

// ours is a status as rpc makes it.
func ours(code codes.Code, reason string, more ...protoadapt.MessageV1) error {
	st, err := status.New(code, "text").WithDetails(append([]protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: reason, Domain: "tongcha", Metadata: map[string]string{"attemptsLeft": "3"}},
	}, more...)...)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// Every gRPC code, once with a reason of ours and once bare.
func TestEveryCode(t *testing.T) {
	s := openDefault(t)
	for _, c := range []struct {
		code codes.Code
		http int
		bare fault.Reason
		then int // the HTTP code of bare
	}{
		{codes.Canceled, 499, fault.ShuttingDown, 503},
		{codes.Unknown, 500, fault.InternalError, 500},
		{codes.InvalidArgument, 400, fault.QueryInvalid, 400},
		{codes.DeadlineExceeded, 504, fault.DeadlineExceeded, 504},
		{codes.NotFound, 404, fault.PathUnknown, 404},
		{codes.AlreadyExists, 409, fault.InternalError, 500},
		{codes.PermissionDenied, 403, fault.RoleDenied, 403},
		{codes.ResourceExhausted, 429, fault.Overloaded, 429},
		{codes.FailedPrecondition, 400, fault.InternalError, 500},
		{codes.Aborted, 409, fault.InternalError, 500},
		{codes.OutOfRange, 400, fault.QueryInvalid, 400},
		{codes.Unimplemented, 501, fault.MethodUnknown, 501},
		{codes.Internal, 500, fault.InternalError, 500},
		{codes.Unavailable, 503, fault.ShuttingDown, 503},
		{codes.DataLoss, 500, fault.InternalError, 500},
		{codes.Unauthenticated, 401, fault.SessionInvalid, 401},
		{99, 500, fault.InternalError, 500},
	} {
		s.hub.set(func(h *hub) { h.err = ours(c.code, "SOME_REASON") })
		r := s.do("GET", "/v1/lookups/L", "")
		r.want(t, c.http, "SOME_REASON")
		if r.json["code"] != float64(c.code) || r.json["message"] != "text" || !strings.Contains(r.text, `"attemptsLeft"`) {
			t.Errorf("%s: %s", c.code, r.text)
		}
		if c.code == codes.Unauthenticated && r.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %v", c.code, r.header)
		}
		s.hub.set(func(h *hub) { h.err = status.Error(c.code, "about "+canary) })
		s.do("GET", "/v1/lookups/L", "").want(t, c.then, c.bare)
	}
	s.hub.set(func(h *hub) { h.err = status.Error(codes.InvalidArgument, canary) })
	s.do("POST", "/v1/lookups", "{}").want(t, 400, fault.BodyInvalid)
}

// Another domain's ErrorInfo proves nothing about the message beside it.
func TestForeignDetails(t *testing.T) {
	s := openDefault(t)
	st, _ := status.New(codes.Unavailable, canary).WithDetails(&errdetails.ErrorInfo{Reason: canary, Domain: "other"})
	s.hub.set(func(h *hub) { h.err = st.Err() })
	s.do("GET", "/v1/consent", "").want(t, 503, fault.ShuttingDown)

	p := status.Convert(ours(codes.NotFound, "X")).Proto()
	p.Details = append(p.Details, &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Type", Value: []byte(canary)})
	s.hub.set(func(h *hub) { h.err = status.FromProto(p).Err() })
	if r := s.do("GET", "/v1/consent", ""); r.code != 500 || r.json["code"] != 13.0 {
		t.Errorf("%d %s", r.code, r.text)
	}
}

func TestRetryAfter(t *testing.T) {
	s := openDefault(t)
	for d, want := range map[time.Duration]string{
		-time.Hour: "1", 0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2",
		59500 * time.Millisecond: "60", 24 * time.Hour: "86400",
	} {
		s.hub.set(func(h *hub) {
			h.err = ours(codes.ResourceExhausted, "LOOKUP_RATE", &errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
		})
		r := s.do("POST", "/v1/lookups", "{}")
		if r.code != 429 || r.header.Get("Retry-After") != want || !strings.Contains(r.text, "retryDelay") {
			t.Errorf("%v: %d %q", d, r.code, r.header.Get("Retry-After"))
		}
	}
	s.hub.set(func(h *hub) { h.err = ours(codes.NotFound, "X") })
	if v := s.do("GET", "/v1/lookups/L", "").header.Get("Retry-After"); v != "" {
		t.Errorf("Retry-After %q without RetryInfo", v)
	}
}

// broken is a connection that does what no connection should.
type broken struct {
	grpc.ClientConnInterface
	invoke func(ctx context.Context) error
}

func (b broken) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	return b.invoke(ctx)
}

func TestPanic(t *testing.T) {
	seen := make(chan string, 1)
	s := open(t, func(o *Options) {
		o.Conn = broken{invoke: func(context.Context) error { panic("about " + canary) }}
		o.Observe = func(route string, code int, _ time.Duration) {
			seen <- route + " " + http.StatusText(code)
		}
	}, defaultPatience)
	r := s.do("GET", "/v1/consent", "")
	r.want(t, 500, fault.InternalError)
	if strings.Contains(r.text, "goroutine") || strings.Contains(r.text, ".go:") {
		t.Errorf("a stack in the body: %s", r.text)
	}
	if log := s.logs.String(); !strings.Contains(log, "GET /v1/consent") || !strings.Contains(log, "type=string") {
		t.Errorf("log %s", log)
	}
	if got := <-seen; got != "GET /v1/consent Internal Server Error" {
		t.Errorf("observed %q", got)
	}
}

// An answer that a panic cut off is reported like any other, and is no whole one.
func TestPanicHalfWay(t *testing.T) {
	seen := make(chan string, 1)
	s := open(t, func(o *Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			panic("about " + canary)
		})
		o.Observe = func(route string, _ int, _ time.Duration) { seen <- route }
	}, defaultPatience)
	resp, err := http.Get("http://" + s.addr + "/metrics")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer passes for a whole one")
	}
	_ = s.srv.Shutdown(t.Context()) // after the handler
	select {
	case route := <-seen:
		if route != "/metrics" {
			t.Errorf("observed %q", route)
		}
	default:
		t.Error("it was not reported")
	}
}

// An error that is no status at all, and one of a context.
func TestOddErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		reason fault.Reason
	}{
		{errors.New(canary), 500, fault.InternalError},
		{context.Canceled, 503, fault.ShuttingDown},
		{context.DeadlineExceeded, 504, fault.DeadlineExceeded},
	} {
		s := open(t, func(o *Options) {
			o.Conn = broken{invoke: func(context.Context) error { return c.err }}
		}, defaultPatience)
		s.do("GET", "/v1/consent", "").want(t, c.code, c.reason)
	}
}

// With the hub gone the answer is a clear 503.
func TestHubGone(t *testing.T) {
	s := open(t, func(o *Options) {
		conn := o.Conn.(*grpc.ClientConn)
		_ = conn.Close()
	}, defaultPatience)
	r := s.do("POST", "/v1/verifications", `{"phoneNumber":"`+canary+`"}`)
	r.want(t, 503, fault.ShuttingDown)
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", r.header)
	}
}

// A client that leaves is counted as such, and its call ends.
func TestClientLeaves(t *testing.T) {
	called, seen := make(chan struct{}), make(chan int, 1)
	s := open(t, func(o *Options) {
		o.Conn = broken{invoke: func(ctx context.Context) error {
			close(called)
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}}
		o.Observe = func(_ string, code int, _ time.Duration) { seen <- code }
	}, defaultPatience)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-called
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/v1/consent", nil)
	resp, err := http.DefaultClient.Do(req)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err == nil {
		_ = resp.Body.Close()
	}
	if code := <-seen; code != 499 {
		t.Errorf("observed %d", code)
	}
}

func TestOptionsAreRequired(t *testing.T) {
	if _, err := New(t.Context(), Options{Status: statusOf}); err == nil {
		t.Error("no connection")
	}
	if _, err := New(t.Context(), Options{Conn: broken{}}); err == nil {
		t.Error("no table")
	}
	if _, err := New(t.Context(), Options{Conn: broken{}, Status: statusOf}); err != nil {
		t.Error(err)
	}
	bad := []entry{{"GET", "/v1/lookups/{noSuchField}", table[0].request}}
	if _, err := compile(bad); err == nil {
		t.Error("a path variable that the message hasn't")
	}
}
