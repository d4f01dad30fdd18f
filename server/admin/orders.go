package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

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
	orders, err := s.o.Orders.AllOrders(ctx, platform.ID(r.GetPlatformId()), state, rows(r.GetLimit()))
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	return &adminv1.ListUnbindsResponse{Unbinds: s.listed(orders)}, nil
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
		RefusalReason: o.RefusalReason, OpenTime: stamp(o.OpenTime), StateTime: stamp(o.StateTime), HolderCheckTime: stamp(o.HolderChecked),
		Appeals: int32(o.Appeals), Polls: int32(o.Polls), LastOutcome: o.LastOutcome(), Discarded: o.Discarded, Note: o.Note,
	}
	for _, h := range o.History {
		step := &adminv1.UnbindHistory{State: h.State.String(), Time: stamp(h.Time), Attempt: int32(h.Attempt), Reason: h.Reason}
		if h.Took > 0 {
			step.TookMillis = proto.Int64(int64((h.Took + time.Millisecond - 1) / time.Millisecond))
		}
		m.History = append(m.History, step)
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
	resp := &adminv1.GetQueueStatsResponse{Pauses: s.pauses()}
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
