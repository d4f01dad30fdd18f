package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Limits of one connection. A hub needs far less of each.
const (
	maxReceive   = 256 << 10 // bytes of a request
	maxHeaders   = 8 << 10   // bytes
	maxStreams   = 100       // calls open at once
	maxHandshake = 10 * time.Second
)

// Serve runs a platform until ctx ends, then lets open calls finish for up to
// Config.DrainTimeout. It returns nil after such an end, and an error when the
// configuration is wrong or the listener fails.
func Serve(ctx context.Context, cfg Config, h Handler) error {
	s, err := New(cfg, h)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Server is a platform that listens but may not be served yet.
type Server struct {
	grpc    *grpc.Server
	lis     net.Listener
	service *service
	drain   time.Duration
}

// New checks the configuration, opens the order journal and begins to listen.
// Either Run or Close must follow.
func New(cfg Config, h Handler) (*Server, error) {
	cfg, err := cfg.withDefaults(h)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	creds, err := cfg.credentials()
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	gs, err := newGRPCServer(creds, RolePlatform, cfg.PlatformID, cfg.Logger, cfg.Interceptors, cfg.StreamInterceptors)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	svc, err := newService(cfg, h)
	if err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	lis := cfg.Listener
	if lis == nil {
		if lis, err = net.Listen("tcp", cfg.Address); err != nil {
			return nil, errors.Join(fmt.Errorf("sdk: %w", err), svc.close(0))
		}
	}
	connectorv1.RegisterConnectorServiceServer(gs, svc)
	return &Server{grpc: gs, lis: lis, service: svc, drain: cfg.DrainTimeout}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.lis.Addr() }

// Run serves until ctx ends; see Serve.
func (s *Server) Run(ctx context.Context) error {
	// A stream ends only when it is told to, so a stop would wait for it in vain.
	defer context.AfterFunc(ctx, func() { close(s.service.draining) })()
	err := RunGRPC(ctx, s.grpc, s.lis, s.drain)
	return errors.Join(err, s.service.close(s.drain))
}

// Close lets go of a server that was never run.
func (s *Server) Close() error {
	s.grpc.Stop()
	return errors.Join(s.lis.Close(), s.service.close(0))
}

// NewGRPCServer makes a server that lets only hubs in: mutual TLS 1.3, small
// limits, a health service, and panics that are answered INTERNAL and logged.
// The certificate must name the role and the id.
func NewGRPCServer(c Credentials, role Role, id string, log *slog.Logger, inner ...grpc.UnaryServerInterceptor) (*grpc.Server, error) {
	return newGRPCServer(c, role, id, log, inner, nil)
}

func newGRPCServer(c Credentials, role Role, id string, log *slog.Logger, unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) (*grpc.Server, error) {
	m, err := c.parse(role, id)
	if err != nil {
		return nil, err
	}
	gs := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(m.serverTLS(RoleHub))),
		grpc.MaxRecvMsgSize(maxReceive),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(maxHandshake),
		grpc.WaitForHandlers(true), // nothing may use what Run closes at its end
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Minute, Timeout: 20 * time.Second}),
		// A hub that pings more often than it promised is no reason to hang up, and
		// neither is the age of a connection: a stream stays open for days.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{recovery(log)}, unary...)...),
		grpc.ChainStreamInterceptor(append([]grpc.StreamServerInterceptor{streamRecovery(log)}, stream...)...),
	)
	h := health.NewServer()
	service := connectorv1.ConnectorService_ServiceDesc.ServiceName
	if role == RoleCarrier {
		service = carrierv1.CarrierService_ServiceDesc.ServiceName
	}
	h.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(gs, h)
	return gs, nil
}

// RunGRPC serves until ctx ends, then stops: open calls may finish for up to
// drain, and whatever is open after that is cut.
func RunGRPC(ctx context.Context, gs *grpc.Server, lis net.Listener, drain time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- gs.Serve(lis) }()
	select {
	case err := <-failed:
		gs.Stop()
		return err
	case <-ctx.Done():
	}
	cut := time.AfterFunc(drain, gs.Stop)
	gs.GracefulStop()
	cut.Stop()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// recovery answers a panic with INTERNAL and a fixed text.
func recovery(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
		defer func() {
			if r := recover(); r != nil {
				logPanic(log, info.FullMethod, r)
				err = status.Error(codes.Internal, "internal error")
			}
		}()
		return next(ctx, req)
	}
}

// streamRecovery is recovery for streams. What runs in goroutines of its own is
// guarded there.
func streamRecovery(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, wire grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if r := recover(); r != nil {
				logPanic(log, info.FullMethod, r)
				err = status.Error(codes.Internal, "internal error")
			}
		}()
		return next(srv, wire)
	}
}

// logPanic logs where a panic happened. A panic's value may hold anything, a
// number too, so only the runtime's own errors are written out.
func logPanic(log *slog.Logger, where string, r any) {
	what := fmt.Sprintf("%T", r)
	if e, ok := r.(runtime.Error); ok {
		what = e.Error()
	}
	log.Error("panic", "where", where, "what", what, "stack", string(debug.Stack()))
}
