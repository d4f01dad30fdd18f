package admin

import (
	"context"
	"fmt"
	"time"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/unbind"
)

// Hub is what an operator does with the hub as a whole.
type Hub interface {
	// Status says how the hub is.
	Status(context.Context) (HubStatus, error)
	// Drain stops taking new work; what runs goes on. It returns at once.
	Drain()
	// Undrain takes new work again. Errors: fault.ShuttingDown while stopping.
	Undrain() error
}

// HubStatus is how a hub is right now.
type HubStatus struct {
	Version, State         string
	StartTime              time.Time
	HTTP, GRPC, Metrics    string // addresses
	Platforms              PlatformCounts
	Lookups                int // that wait for platforms
	Requests               int // for new work, being answered
	Attempts               int // at orders, being made
	Open, Overdue          int64
	Abandoned              int64
	Certificates           []Certificate
	DatabaseSize, FreeSize int64 // bytes
	Flushed, Swept         time.Time
	CalendarEnd            time.Time
	ClockOff, ClockJump    time.Duration  // of the machine's clock: ahead of the hub's, and set since the start
	Pauses                 []unbind.Pause // of the queue, by an operator
	Findings               []Finding
}

// PlatformCounts counts the platforms of the catalogue. Those that have joined
// include the suspended ones.
type PlatformCounts struct {
	Catalogued, Joined, Serving, Suspended int
}

// Certificate is one of the hub's own and when it ends.
type Certificate struct {
	Name   string
	Expire time.Time
}

// Finding is one thing that needs a look, and what to do.
type Finding struct {
	Code, Text, Action string
}

type hubService struct {
	adminv1.UnimplementedHubServiceServer
	o Options
}

// GetStatus implements admin.v1.HubService.
func (s *hubService) GetStatus(ctx context.Context, _ *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	m, err := s.status(ctx)
	return &adminv1.GetStatusResponse{Status: m}, err
}

// Drain implements admin.v1.HubService.
func (s *hubService) Drain(ctx context.Context, _ *adminv1.DrainRequest) (*adminv1.DrainResponse, error) {
	s.o.Hub.Drain()
	m, err := s.status(ctx)
	return &adminv1.DrainResponse{Status: m}, err
}

// Undrain implements admin.v1.HubService.
func (s *hubService) Undrain(ctx context.Context, _ *adminv1.UndrainRequest) (*adminv1.UndrainResponse, error) {
	if err := s.o.Hub.Undrain(); err != nil {
		return nil, fmt.Errorf("undrain: %w", err)
	}
	m, err := s.status(ctx)
	return &adminv1.UndrainResponse{Status: m}, err
}

func (s *hubService) status(ctx context.Context) (*adminv1.HubStatus, error) {
	h, err := s.o.Hub.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("hub status: %w", err)
	}
	m := &adminv1.HubStatus{
		Version: h.Version, State: h.State, StartTime: stamp(h.StartTime), HttpAddress: h.HTTP, GrpcAddress: h.GRPC, MetricsAddress: h.Metrics,
		PlatformsCatalogued: int32(h.Platforms.Catalogued), PlatformsJoined: int32(h.Platforms.Joined),
		PlatformsServing: int32(h.Platforms.Serving), PlatformsSuspended: int32(h.Platforms.Suspended),
		LookupsRunning: int32(h.Lookups), RequestsUnderWay: int32(h.Requests), AttemptsUnderWay: int32(h.Attempts),
		OrdersOpen: h.Open, OrdersOverdue: h.Overdue, OrdersAbandoned: h.Abandoned,
		DatabaseBytes: h.DatabaseSize, FreeBytes: h.FreeSize, FlushTime: stamp(h.Flushed), SweepTime: stamp(h.Swept), CalendarEndTime: stamp(h.CalendarEnd),
	}
	for _, c := range h.Certificates {
		m.Certificates = append(m.Certificates, &adminv1.CertificateStatus{Name: c.Name, ExpireTime: stamp(c.Expire)})
	}
	for _, f := range h.Findings {
		m.Findings = append(m.Findings, &adminv1.Finding{Code: f.Code, Text: f.Text, Action: f.Action})
	}
	return m, nil
}
