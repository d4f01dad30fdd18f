package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// The rows of a list.
const (
	usualRows = 50
	mostRows  = 1000
)

// ListUnbinds implements admin.v1.AdminService.
func (s *service) ListUnbinds(ctx context.Context, r *adminv1.ListUnbindsRequest) (*adminv1.ListUnbindsResponse, error) {
	var state unbind.State
	if r.GetState() != "" {
		var ok bool
		if state, ok = unbind.ParseState(r.GetState()); !ok {
			return nil, fault.StateInvalid.On("state")
		}
	}
	limit := int(r.GetLimit())
	if limit <= 0 {
		limit = usualRows
	}
	orders, err := s.o.Orders.AllOrders(ctx, platform.ID(r.GetPlatformId()), state, min(limit, mostRows))
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	resp := new(adminv1.ListUnbindsResponse)
	for _, o := range orders {
		m := s.orderMessage(o)
		m.History = nil
		resp.Unbinds = append(resp.Unbinds, m)
	}
	return resp, nil
}

// GetUnbind implements admin.v1.AdminService.
func (s *service) GetUnbind(ctx context.Context, r *adminv1.GetUnbindRequest) (*adminv1.GetUnbindResponse, error) {
	o, err := s.o.Orders.AnyOrder(ctx, r.GetUnbindId())
	if err != nil {
		return nil, fmt.Errorf("get order: %w", err)
	}
	return &adminv1.GetUnbindResponse{Unbind: s.orderMessage(o)}, nil
}

func (s *service) orderMessage(o unbind.Order) *adminv1.Unbind {
	m := &adminv1.Unbind{
		UnbindId: o.ID, PlatformId: string(o.Platform), State: o.State.String(), Attempts: int32(o.Attempts),
		CreateTime: stamp(o.CreateTime), DueTime: stamp(o.DueTime), NextTime: stamp(o.NextTime), Overdue: o.Overdue(s.o.Now()),
		RefusalReason: o.RefusalReason,
	}
	for _, h := range o.History {
		m.History = append(m.History, &adminv1.UnbindHistory{State: h.State.String(), Time: stamp(h.Time), Attempt: int32(h.Attempt), Reason: h.Reason})
	}
	return m
}

// GetQueueStats implements admin.v1.AdminService.
func (s *service) GetQueueStats(ctx context.Context, _ *adminv1.GetQueueStatsRequest) (*adminv1.GetQueueStatsResponse, error) {
	now := s.o.Now()
	counts, err := s.o.Orders.OrderCounts(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("count orders: %w", err)
	}
	sending := s.o.Orders.Sending(now)
	resp := new(adminv1.GetQueueStatsResponse)
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		c := counts[id]
		active := min(sending[id], c.Queued) // a lease may also be of an order in review
		resp.Platforms = append(resp.Platforms, &adminv1.QueueStats{
			PlatformId: string(id), Queued: int32(c.Queued - active), Sending: int32(active), InReview: int32(c.InReview), Overdue: int32(c.Overdue),
			Completed: int32(c.Completed), Refused: int32(c.Refused), Abandoned: int32(c.Abandoned), Cancelled: int32(c.Cancelled),
			Flow: s.flowMessage(id),
		})
	}
	return resp, nil
}
