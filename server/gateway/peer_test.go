package gateway

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/logtest"
)

// canary is typed into everything; it may come out of nothing.
const canary = "13912345678"

// TestMain also reads what grpc and grpc-gateway log, at their most talkative.
func TestMain(m *testing.M) {
	logs := &logtest.Log{}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(logs, logs, logs, 99))
	code := m.Run()
	if s := logs.String(); strings.Contains(s, canary) {
		_, _ = os.Stderr.WriteString("grpc's log repeats what was typed:\n" + s)
		code = 1
	}
	os.Exit(code)
}

// hub is a gRPC server as rpc is one, answering what it is told to.
type hub struct {
	hubv1.UnimplementedCatalogueServiceServer
	hubv1.UnimplementedVerificationServiceServer
	hubv1.UnimplementedLookupServiceServer
	oversightv1.UnimplementedCoverageServiceServer
	unbinds

	mu       sync.Mutex
	err      error         // for every call
	answer   proto.Message // for every unary call; nil: an empty one
	frames   []*hubv1.Lookup
	last     proto.Message
	md       metadata.MD
	deadline bool
	calls    int
}

type unbinds struct {
	hubv1.UnimplementedUnbindServiceServer
}

func (h *hub) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(ctx, req.(proto.Message))
	if h.err != nil {
		return nil, h.err
	}
	if h.answer != nil {
		return h.answer, nil
	}
	return next(ctx, req)
}

func (h *hub) note(ctx context.Context, req proto.Message) {
	h.calls++
	h.last = req
	h.md, _ = metadata.FromIncomingContext(ctx)
	_, h.deadline = ctx.Deadline()
}

func (h *hub) GetConsent(context.Context, *hubv1.GetConsentRequest) (*hubv1.GetConsentResponse, error) {
	return &hubv1.GetConsentResponse{}, nil
}

func (h *hub) ListPlatforms(context.Context, *hubv1.ListPlatformsRequest) (*hubv1.ListPlatformsResponse, error) {
	return &hubv1.ListPlatformsResponse{}, nil
}

func (h *hub) CreateVerification(context.Context, *hubv1.CreateVerificationRequest) (*hubv1.CreateVerificationResponse, error) {
	return &hubv1.CreateVerificationResponse{}, nil
}

func (h *hub) ConfirmVerification(context.Context, *hubv1.ConfirmVerificationRequest) (*hubv1.ConfirmVerificationResponse, error) {
	return &hubv1.ConfirmVerificationResponse{}, nil
}

func (h *hub) CreateLookup(context.Context, *hubv1.CreateLookupRequest) (*hubv1.CreateLookupResponse, error) {
	return &hubv1.CreateLookupResponse{Lookup: &hubv1.Lookup{}}, nil
}

func (h *hub) GetLookup(context.Context, *hubv1.GetLookupRequest) (*hubv1.GetLookupResponse, error) {
	return &hubv1.GetLookupResponse{Lookup: &hubv1.Lookup{}}, nil
}

func (h *hub) WatchLookup(req *hubv1.WatchLookupRequest, s grpc.ServerStreamingServer[hubv1.WatchLookupResponse]) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(s.Context(), req)
	for _, f := range h.frames {
		if err := s.Send(&hubv1.WatchLookupResponse{Lookup: f}); err != nil {
			return err
		}
	}
	return h.err
}

func (h *hub) ListPlatformCoverage(context.Context, *oversightv1.ListPlatformCoverageRequest) (*oversightv1.ListPlatformCoverageResponse, error) {
	return &oversightv1.ListPlatformCoverageResponse{}, nil
}

func (h *hub) GetUnbindCoverage(context.Context, *oversightv1.GetUnbindCoverageRequest) (*oversightv1.GetUnbindCoverageResponse, error) {
	return &oversightv1.GetUnbindCoverageResponse{Unbinds: &oversightv1.UnbindCoverage{}}, nil
}

func (h *hub) GetRefusals(context.Context, *oversightv1.GetRefusalsRequest) (*oversightv1.GetRefusalsResponse, error) {
	return &oversightv1.GetRefusalsResponse{Refusals: &oversightv1.Refusals{}}, nil
}

func (h *hub) GetCoverage(context.Context, *oversightv1.GetCoverageRequest) (*oversightv1.GetCoverageResponse, error) {
	return &oversightv1.GetCoverageResponse{Coverage: &oversightv1.Coverage{}}, nil
}

func (unbinds) ListUnbinds(context.Context, *hubv1.ListUnbindsRequest) (*hubv1.ListUnbindsResponse, error) {
	return &hubv1.ListUnbindsResponse{}, nil
}

func (unbinds) GetUnbind(context.Context, *hubv1.GetUnbindRequest) (*hubv1.GetUnbindResponse, error) {
	return &hubv1.GetUnbindResponse{Unbind: &hubv1.Unbind{}}, nil
}

func (unbinds) CreateUnbinds(context.Context, *hubv1.CreateUnbindsRequest) (*hubv1.CreateUnbindsResponse, error) {
	return &hubv1.CreateUnbindsResponse{}, nil
}

func (unbinds) CancelUnbind(context.Context, *hubv1.CancelUnbindRequest) (*hubv1.CancelUnbindResponse, error) {
	return &hubv1.CancelUnbindResponse{Unbind: &hubv1.Unbind{}}, nil
}

func (unbinds) AppealUnbind(context.Context, *hubv1.AppealUnbindRequest) (*hubv1.AppealUnbindResponse, error) {
	return &hubv1.AppealUnbindResponse{Unbind: &hubv1.Unbind{}}, nil
}

// set changes what the hub answers.
func (h *hub) set(f func(*hub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

// statusOf is a table like the one in rpc.
func statusOf(err error) *status.Status {
	f := fault.Of(err)
	code := map[fault.Class]codes.Code{
		fault.Internal: codes.Internal, fault.Invalid: codes.InvalidArgument, fault.Unauthorized: codes.Unauthenticated,
		fault.Denied: codes.PermissionDenied, fault.NotFound: codes.NotFound, fault.Conflict: codes.AlreadyExists,
		fault.Precondition: codes.FailedPrecondition, fault.Exhausted: codes.ResourceExhausted,
		fault.Unavailable: codes.Unavailable, fault.Unimplemented: codes.Unimplemented,
		fault.Canceled: codes.Canceled, fault.Timeout: codes.DeadlineExceeded,
	}[f.Class()]
	d := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(f.Reason), Domain: "tongcha", Metadata: f.Metadata}}
	if f.Field != "" {
		d = append(d, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: f.Field}}})
	}
	if f.RetryAfter > 0 {
		d = append(d, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	st, _ := status.New(code, f.Reason.Text("en")).WithDetails(d...)
	return st
}
