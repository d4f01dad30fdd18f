package sdk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// Waiting between the tries of a report.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	tryTimeout = 10 * time.Second
)

// ReporterConfig says where the hub is and who reports. The credentials are the
// platform's own, as in Config.
type ReporterConfig struct {
	HubAddress                string // host:port of the hub's gRPC listener
	PlatformID                string
	CertFile, KeyFile, CAFile string
	Credentials               Credentials

	// Dialer replaces the network, for tests; HubAddress is passed to it as is.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
}

// Reporter tells the hub how orders went on. It is safe for concurrent use.
type Reporter struct {
	conn *grpc.ClientConn
	hub  hubv1.MembershipServiceClient
}

// Reported is the hub's answer to a report.
type Reported struct {
	Applied bool   // whether the report changed the order
	State   string // where the order stands at the hub, as "COMPLETED"
}

// NewReporter makes a reporter; it connects at the first report. The hub is
// known by its CA and the URI SAN of its certificate, whatever its address.
func NewReporter(cfg ReporterConfig) (*Reporter, error) {
	c, err := Config{
		CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, CAFile: cfg.CAFile, Credentials: cfg.Credentials,
	}.credentials()
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	m, err := c.parse(RolePlatform, cfg.PlatformID)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(m.clientTLS(RoleHub))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithDisableServiceConfig(),
	}
	target := cfg.HubAddress
	if cfg.Dialer != nil {
		target = "passthrough:///" + target
		opts = append(opts, grpc.WithContextDialer(cfg.Dialer))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	return &Reporter{conn: conn, hub: hubv1.NewMembershipServiceClient(conn)}, nil
}

// Close ends the connection.
func (r *Reporter) Close() error { return r.conn.Close() }

// Report tells the hub an order's state, IN_REVIEW, ACTION_REQUIRED, COMPLETED or
// REFUSED. While the hub can't be reached it tries again with a growing delay,
// 0.5 s to 30 s, until ctx ends. Errors that a repeat can't mend come back at
// once: NOT_FOUND, INVALID_ARGUMENT, PERMISSION_DENIED and the like. Reports may
// be repeated; the hub never moves an order backwards.
func (r *Reporter) Report(ctx context.Context, orderID string, o Outcome) (Reported, error) {
	req, err := reportOf(orderID, o)
	if err != nil {
		return Reported{}, fmt.Errorf("sdk: report: %w", err)
	}
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		resp, err := r.try(ctx, req)
		if err == nil {
			return Reported{Applied: resp.GetApplied(), State: resp.GetState()}, nil
		}
		if !passing(err) {
			return Reported{}, err
		}
		// Half of the delay is by chance, so that platforms that lost the hub
		// together don't come back together.
		timer := time.NewTimer(delay/2 + rand.N(delay/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Reported{}, errors.Join(ctx.Err(), err)
		}
	}
}

func (r *Reporter) try(ctx context.Context, req *hubv1.ReportUnbindRequest) (*hubv1.ReportUnbindResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return r.hub.ReportUnbind(ctx, req)
}

// passing reports whether the same call may work later.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Unknown:
		return true
	default:
		return false
	}
}

func reportOf(orderID string, o Outcome) (*hubv1.ReportUnbindRequest, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	req := &hubv1.ReportUnbindRequest{OrderId: orderID}
	switch o.State {
	case StateInReview:
		req.State = hubv1.ReportedState_REPORTED_STATE_IN_REVIEW
	case StateActionRequired:
		req.State, req.ActionUrl = hubv1.ReportedState_REPORTED_STATE_ACTION_REQUIRED, o.URL
	case StateCompleted:
		req.State = hubv1.ReportedState_REPORTED_STATE_COMPLETED
	case StateRefused:
		req.State, req.RefusalText = hubv1.ReportedState_REPORTED_STATE_REFUSED, o.Text
		req.RefusalReason = strings.TrimPrefix(o.Reason.String(), "REFUSAL_REASON_")
	default:
		return nil, errors.New("ACCEPTED is not reported")
	}
	if !o.Time.IsZero() {
		req.StateTime = timestamppb.New(o.Time)
	}
	return req, nil
}
