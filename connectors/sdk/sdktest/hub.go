package sdktest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// Hub stands in for a hub: it takes reports of platforms and keeps them.
type Hub struct {
	hubv1.UnimplementedMembershipServiceServer

	Listener *bufconn.Listener

	mu      sync.Mutex
	reports []*hubv1.ReportUnbindRequest
	errs    []codes.Code
}

// StartHub serves a hub with these credentials until the test ends.
func StartHub(tb testing.TB, c sdk.Credentials) *Hub {
	tb.Helper()
	h := &Hub{Listener: bufconn.Listen(1 << 16)}
	gs := grpc.NewServer(grpc.Creds(credentials.NewTLS(hubTLS(tb, c))))
	hubv1.RegisterMembershipServiceServer(gs, h)
	background(tb, func(ctx context.Context) error { return sdk.RunGRPC(ctx, gs, h.Listener, 0) })
	return h
}

// Reporter makes a reporter of the platform at this hub.
func (h *Hub) Reporter(tb testing.TB, a *Authority, platformID string) *sdk.Reporter {
	tb.Helper()
	r, err := sdk.NewReporter(sdk.ReporterConfig{
		HubAddress: "memory", PlatformID: platformID,
		Credentials: a.Issue(sdk.RolePlatform, platformID), Dialer: Dialer(h.Listener),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// Fail makes the next reports fail with these codes, one each.
func (h *Hub) Fail(c ...codes.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, c...)
}

// Reports returns the reports that were taken, in the order of arrival.
func (h *Hub) Reports() []*hubv1.ReportUnbindRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.reports)
}

// ReportUnbind implements the contract.
func (h *Hub) ReportUnbind(_ context.Context, req *hubv1.ReportUnbindRequest) (*hubv1.ReportUnbindResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.errs) > 0 {
		c := h.errs[0]
		h.errs = h.errs[1:]
		return nil, status.Error(c, "as the test wants it")
	}
	h.reports = append(h.reports, proto.CloneOf(req))
	return &hubv1.ReportUnbindResponse{Applied: true, State: "COMPLETED"}, nil
}
