// Package rpc is the hub's gRPC surface: handlers, the interceptors every call
// passes whichever way it came, the authorisation table and the translation of
// faults.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// The limits of every server. docs/errors.md lists them.
const (
	maxReceive = 256 << 10
	maxHeaders = 8 << 10
	maxStreams = 100
	// handshakeTime bounds a connection's beginning. A stop waits for those that
	// have begun.
	handshakeTime = 5 * time.Second
)

// Catalogue is what the handlers ask of the catalogue. Its methods never block.
type Catalogue interface {
	// Entries returns every catalogued platform, ordered by id.
	Entries() []platform.Entry
	// Info returns what is known of a joined or suspended platform.
	Info(platform.ID) (platform.Info, bool)
	// Functions is what the platform offers; none unless it has joined.
	Functions(platform.ID) platform.Functions
}

// Options configures a Server.
type Options struct {
	Verify    *verify.Service
	Lookup    *lookup.Service
	Unbind    *unbind.Service
	Catalogue Catalogue
	Carrier   platform.Carrier // may be nil
	Coverage  func(context.Context, coverage.Query) (coverage.Report, error)
	// IsMember reports whether a platform's certificate is still good for calls.
	IsMember func(id string) bool
	// OpenCoverage lets everybody read the coverage figures.
	OpenCoverage bool
	// Receipts signs the receipts of orders that have ended, in the name of Issuer,
	// the hub's own URI. Nil makes none.
	Receipts *receipt.Signer
	Issuer   string
	// ChecksPerSecond bounds CheckNumber, per platform.
	ChecksPerSecond float64
	// MaxLookups bounds the lookups that run at the same time; 0 means no limit.
	MaxLookups int
	// StorageFull reports whether the disk has too little room for new work, which
	// is refused then; nil means never. It must not block.
	StorageFull func() bool
	// Observe is told every call that ended; may be nil.
	Observe func(method string, code codes.Code, took time.Duration)
	// Span begins the span of a call below a W3C traceparent, "" for none, which
	// is the hub's own where the call came through the gateway. end is called once.
	// Nil traces nothing.
	Span   func(traceparent, method string, fromGateway bool) (child string, end func(code string))
	Logger *slog.Logger
	Now    func() time.Time // the hub's clock; nil: time.Now
}

// Server makes the ways to the handlers: gRPC servers, and Local for the gateway.
type Server struct {
	o      Options
	health *health.Server
	checks *limiter
	waits  *waits
	gate   *gate
	door   door

	lateWatches *waits // watches that go on after their lookup is complete
}

// New returns a Server. Its health is NOT_SERVING until SetServing.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		o: o, health: health.NewServer(), checks: newLimiter(rate.Limit(o.ChecksPerSecond)), gate: newGate(o.MaxLookups, o.Lookup.Running, o.StorageFull),
		waits: newWaits(waitsPerSession, waitsInAll), lateWatches: newWaits(lateWatchesPerSession, lateWatchesInAll),
	}
	s.SetServing(false)
	return s
}

// SetServing changes what the health service says.
func (s *Server) SetServing(ok bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ok {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
}

// Oversight is the regulator's service without any check of who calls, for a door
// that lets in nobody else than the operator.
func (s *Server) Oversight() oversightv1.CoverageServiceServer { return &handlers{Server: s} }

// Outer makes the server for platforms, carriers and regulators. creds must
// demand and verify client certificates.
func (s *Server) Outer(creds grpc.ServerOption) *grpc.Server {
	g := grpc.NewServer(append(s.options(false, maxStreams), creds)...)
	s.register(g)
	reflection.Register(g)
	return g
}

// options are the limits and the interceptors of a server.
func (s *Server) options(inner bool, streams uint32) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(handshakeTime), grpc.MaxRecvMsgSize(maxReceive), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(streams),
		grpc.ChainUnaryInterceptor(s.unary(inner)), grpc.ChainStreamInterceptor(s.stream(inner)),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return Status(fault.MethodUnknown.New()).Err() }),
	}
}

// register adds the services that every way in leads to.
func (s *Server) register(r grpc.ServiceRegistrar) {
	h := &handlers{Server: s}
	hubv1.RegisterCatalogueServiceServer(r, h)
	hubv1.RegisterVerificationServiceServer(r, h)
	hubv1.RegisterLookupServiceServer(r, h)
	hubv1.RegisterUnbindServiceServer(r, h)
	hubv1.RegisterMembershipServiceServer(r, h)
	oversightv1.RegisterCoverageServiceServer(r, h)
	healthv1.RegisterHealthServer(r, s.health)
}

// unary is the one interceptor: who, may they, run, recover, translate, note.
func (s *Server) unary(inner bool) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		began := time.Now()
		var c caller
		resp, err := s.guard(func() (_ any, err error) {
			leave, err := s.door.enter(info.FullMethod)
			if err != nil {
				return nil, err
			}
			defer leave()
			if err := s.admit(ctx, info.FullMethod, inner, &c); err != nil {
				return nil, err
			}
			return next(withCaller(ctx, c), req)
		})
		return resp, s.ended(ctx, info.FullMethod, c, began, err)
	}
}

func (s *Server) stream(inner bool) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		began := time.Now()
		ctx := ss.Context()
		var c caller
		_, err := s.guard(func() (any, error) {
			if err := s.admit(ctx, info.FullMethod, inner, &c); err != nil {
				return nil, err
			}
			return nil, next(srv, &callerStream{ss, withCaller(ctx, c)})
		})
		return s.ended(ctx, info.FullMethod, c, began, err)
	}
}

type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is the stream's, with the caller in it.
func (s *callerStream) Context() context.Context { return s.ctx }

// admit fills c in as it goes, so that the span and the place it took are given
// back whatever becomes of the rest, a panic included.
func (s *Server) admit(ctx context.Context, method string, inner bool, c *caller) error {
	var err error
	*c, err = s.identify(ctx, inner)
	s.trace(ctx, method, inner, c)
	if err != nil {
		return err
	}
	if err := s.gate.enter(method, c); err != nil {
		return err
	}
	return s.authorise(ctx, method, c)
}

// guard turns a panic into an error. Its stack goes to the log, its value does
// not: it may hold what a person typed.
func (s *Server) guard(run func() (any, error)) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Logger.Error("panic in a handler", "kind", fmt.Sprintf("%T", p), "stack", fault.Where(p))
			resp, err = nil, fault.InternalError.New()
		}
	}()
	return run()
}

// ended notes the call and translates its error.
func (s *Server) ended(ctx context.Context, method string, c caller, began time.Time, err error) error {
	st := statusOf(method, err)
	if _, known := methods[method]; !known {
		method = "unknown" // the caller chose it: no label and no line of a log is made of it
	}
	took := time.Since(began)
	if c.leave != nil {
		c.leave()
	}
	if c.end != nil {
		c.end(st.Code().String())
	}
	if s.o.Observe != nil {
		s.o.Observe(method, st.Code(), took)
	}
	level := slog.LevelDebug
	// The first is as an operator wished, the second has a line of its own.
	refused := errors.Is(err, fault.ShuttingDown) || errors.Is(err, fault.StorageFull)
	if !refused && (st.Code() == codes.Internal || st.Code() == codes.Unavailable) {
		level = slog.LevelError
	}
	if !s.o.Logger.Enabled(ctx, level) {
		return st.Err()
	}
	attrs := []any{"method", method, "code", st.Code().String(), "ms", took.Milliseconds()}
	if c.identity.ID != "" {
		attrs = append(attrs, "role", string(c.identity.Role), "peer", c.identity.ID)
	}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	s.o.Logger.Log(ctx, level, "call", attrs...)
	return st.Err()
}

// statusOf keeps a status that a stock service (health, reflection) made. One in
// an error of ours is of another connection, and its text is somebody else's.
func statusOf(method string, err error) *status.Status {
	if methods[method] != anyPeer {
		return Status(err)
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return Status(err)
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	return Status(err)
}

// handlers implements the services.
type handlers struct {
	hubv1.UnimplementedCatalogueServiceServer
	hubv1.UnimplementedVerificationServiceServer
	hubv1.UnimplementedLookupServiceServer
	hubv1.UnimplementedUnbindServiceServer
	hubv1.UnimplementedMembershipServiceServer
	oversightv1.UnimplementedCoverageServiceServer
	*Server
}
