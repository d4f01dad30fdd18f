// Package admin is the operator's API on a local socket: the catalogue, the
// certificates and the queue of a running hub.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// Catalogue is what an operator does with platforms. Every change is on disk
// before it returns.
type Catalogue interface {
	// Add joins a platform and waits shortly for its first answer.
	// Errors: fault.PlatformExists.
	Add(context.Context, platform.Entry) (platform.Info, error)
	// Suspend stops asking a platform. Errors: fault.PlatformUnknown, PlatformState.
	Suspend(ctx context.Context, id platform.ID, reason string) (platform.Info, error)
	// Resume asks it again. Errors: fault.PlatformUnknown, PlatformState.
	Resume(ctx context.Context, id platform.ID) (platform.Info, error)
	// Known returns what is known of a catalogued platform.
	Known(platform.ID) (platform.Info, bool)
	// All returns every catalogued platform, ordered by id.
	All() []platform.Info
	// Load says how busy a platform is; false for one that hasn't joined.
	Load(platform.ID) (platform.Load, bool)
}

// Orders is what an operator sees of the queue.
type Orders interface {
	// AnyOrder returns one order. Errors: fault.UnbindNotFound.
	AnyOrder(ctx context.Context, id string) (unbind.Order, error)
	// AllOrders returns orders, newest first; zero platform or state: all.
	AllOrders(ctx context.Context, p platform.ID, s unbind.State, limit int) ([]unbind.Order, error)
	// OrderCounts counts orders by platform and state.
	OrderCounts(ctx context.Context, now time.Time) (map[platform.ID]coverage.Orders, error)
	// Sending counts the orders being sent right now.
	Sending(now time.Time) map[platform.ID]int64
	// OpenOrders returns open orders, the oldest due first, and where to go on.
	OpenOrders(context.Context, unbind.OpenOrderQuery) (orders []unbind.Order, next string, err error)
}

// Options configures the API.
type Options struct {
	Catalogue Catalogue
	File      CatalogueFile
	// Coverage answers the regulator's questions, here without asking who calls;
	// nil for none.
	Coverage oversightv1.CoverageServiceServer
	Orders   Orders
	Unbinds  *unbind.Service // nil: QueueService is not served
	Pauses   *unbind.Pauses  // with Unbinds
	// Flow says how orders go to a platform; nil leaves it out.
	Flow      func(platform.ID) unbind.Flow
	Authority *pki.Authority
	Hub       Hub   // nil: HubService is not served
	Store     Store // nil: StoreService is not served
	// Status translates faults; the table is in server/rpc.
	Status func(error) *status.Status
	Logger *slog.Logger
	Now    func() time.Time // the hub's clock; nil: time.Now
}

type service struct {
	adminv1.UnimplementedAdminServiceServer
	adminv1.UnimplementedCatalogueServiceServer
	o Options
}

// NewServer returns the gRPC server of the socket. Whoever can open the socket
// may call everything; the socket's mode is the authorisation.
func NewServer(o Options) *grpc.Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &service{o: o}
	g := grpc.NewServer(grpc.UnaryInterceptor(s.translate), grpc.StreamInterceptor(s.translateStream), grpc.ConnectionTimeout(2*time.Second))
	adminv1.RegisterAdminServiceServer(g, s)
	adminv1.RegisterCatalogueServiceServer(g, s)
	if o.Coverage != nil {
		oversightv1.RegisterCoverageServiceServer(g, o.Coverage)
	}
	if o.Hub != nil {
		adminv1.RegisterHubServiceServer(g, &hubService{o: o})
	}
	if o.Unbinds != nil {
		adminv1.RegisterQueueServiceServer(g, &queueService{service: s})
	}
	if o.Store != nil {
		adminv1.RegisterStoreServiceServer(g, &storeService{o: o})
	}
	return g
}

// translate turns faults into statuses and notes what was done.
func (s *service) translate(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := s.guard(func() (any, error) { return next(ctx, req) })
	if err != nil {
		s.o.Logger.Info("admin call", "method", info.FullMethod, "error", err.Error())
		return nil, s.o.Status(err).Err()
	}
	s.o.Logger.Debug("admin call", "method", info.FullMethod)
	return resp, nil
}

// guard turns a panic into an error: an operator's look at a record must not end
// the hub. Its stack goes to the log, its value does not.
func (s *service) guard(run func() (any, error)) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Logger.Error("panic in an admin call", "kind", fmt.Sprintf("%T", p), "stack", fault.Where(p))
			resp, err = nil, fault.InternalError.New()
		}
	}()
	return run()
}

// AddPlatform implements admin.v1.AdminService.
func (s *service) AddPlatform(ctx context.Context, r *adminv1.AddPlatformRequest) (*adminv1.AddPlatformResponse, error) {
	id, err := platform.ParseID(r.GetPlatformId())
	if err != nil {
		return nil, err
	}
	if !platform.IsAddress(r.GetAddress()) {
		return nil, fault.AddressInvalid.On("address")
	}
	name := strings.TrimSpace(r.GetDisplayName())
	if n := utf8.RuneCountInString(name); n < 1 || n > 64 || platform.IsFormula(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, fault.NameInvalid.On("displayName")
	}
	if !platform.IsCategory(r.GetCategory()) {
		return nil, fault.CategoryInvalid.On("category")
	}
	info, err := s.o.Catalogue.Add(ctx, platform.Entry{
		ID: id, DisplayName: name, Category: r.GetCategory(), Address: r.GetAddress(), AddTime: s.o.Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("add platform: %w", err)
	}
	return &adminv1.AddPlatformResponse{Platform: s.platformMessage(info)}, nil
}

// ListPlatforms implements admin.v1.AdminService.
func (s *service) ListPlatforms(context.Context, *adminv1.ListPlatformsRequest) (*adminv1.ListPlatformsResponse, error) {
	resp := new(adminv1.ListPlatformsResponse)
	for _, info := range s.o.Catalogue.All() {
		resp.Platforms = append(resp.Platforms, s.platformMessage(info))
	}
	return resp, nil
}

// GetPlatform implements admin.v1.AdminService.
func (s *service) GetPlatform(_ context.Context, r *adminv1.GetPlatformRequest) (*adminv1.GetPlatformResponse, error) {
	info, ok := s.o.Catalogue.Known(platform.ID(r.GetPlatformId()))
	if !ok {
		return nil, fault.PlatformUnknown.On("platformId")
	}
	return &adminv1.GetPlatformResponse{Platform: s.platformMessage(info)}, nil
}

// SuspendPlatform implements admin.v1.AdminService.
func (s *service) SuspendPlatform(ctx context.Context, r *adminv1.SuspendPlatformRequest) (*adminv1.SuspendPlatformResponse, error) {
	if !isNote(r.GetReason(), longestNote) {
		return nil, fault.NoteInvalid.On("reason")
	}
	info, err := s.o.Catalogue.Suspend(ctx, platform.ID(r.GetPlatformId()), r.GetReason())
	if err != nil {
		return nil, fmt.Errorf("suspend platform: %w", err)
	}
	return &adminv1.SuspendPlatformResponse{Platform: s.platformMessage(info)}, nil
}

// ResumePlatform implements admin.v1.AdminService.
func (s *service) ResumePlatform(ctx context.Context, r *adminv1.ResumePlatformRequest) (*adminv1.ResumePlatformResponse, error) {
	info, err := s.o.Catalogue.Resume(ctx, platform.ID(r.GetPlatformId()))
	if err != nil {
		return nil, fmt.Errorf("resume platform: %w", err)
	}
	return &adminv1.ResumePlatformResponse{Platform: s.platformMessage(info)}, nil
}

func (s *service) platformMessage(i platform.Info) *adminv1.Platform {
	state := "CATALOGUED"
	switch {
	case i.Suspended:
		state = "SUSPENDED"
	case i.Address != "":
		state = "JOINED"
	}
	return &adminv1.Platform{
		PlatformId: string(i.ID), DisplayName: i.DisplayName, Category: i.Category, State: state, Address: i.Address, Health: string(i.Health),
		Problem: i.Problem, Functions: i.Functions.Names(), UnbindMode: string(i.UnbindMode), MaxBatch: int32(i.MaxBatch), AddTime: stamp(i.AddTime),
		LastSeenTime: stamp(i.LastSeen), Products: i.Products, SuspendReason: i.SuspendReason, Load: s.loadMessage(i.ID),
		Orders: s.joinedFlow(i),
	}
}

// IssueCertificate implements admin.v1.AdminService.
func (s *service) IssueCertificate(_ context.Context, r *adminv1.IssueCertificateRequest) (*adminv1.IssueCertificateResponse, error) {
	role, err := pki.ParseRole(r.GetRole())
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]pki.Role{pki.RolePlatform, pki.RoleCarrier, pki.RoleRegulator}, role) {
		return nil, fault.RoleInvalid.On("role")
	}
	id, err := platform.ParseID(r.GetId())
	if err != nil {
		return nil, fault.PlatformIDInvalid.On("id")
	}
	pair, expire, err := s.o.Authority.Issue(role, string(id), pki.IssueOptions{Hosts: pki.LocalHosts()})
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	who := pki.Identity{TrustDomain: s.o.Authority.TrustDomain(), Role: role, ID: string(id)}
	s.o.Logger.Info("certificate issued", "role", string(role), "id", string(id), "expires", expire)
	return &adminv1.IssueCertificateResponse{
		CertificatePem: pair.CertPEM, KeyPem: pair.KeyPEM, CaPem: s.o.Authority.CertPEM(), ExpireTime: stamp(expire), Identity: who.String(),
	}, nil
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t.Truncate(time.Millisecond))
}
