package rpc

import (
	"context"
	"math"

	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
)

// GetCoverage implements oversight.v1.CoverageService.
func (h *handlers) GetCoverage(ctx context.Context, _ *oversightv1.GetCoverageRequest) (*oversightv1.GetCoverageResponse, error) {
	r, err := h.o.Coverage(ctx)
	if err != nil {
		return nil, err
	}
	t := r.Total
	c := &oversightv1.Coverage{
		Since: stamp(r.Since), AsOf: stamp(r.AsOf), Catalogued: int32(len(r.Rows)), Joined: int32(r.Joined),
		Asked: clip(t.Lookup.Asked), Answered: clip(t.Lookup.Answered), Silent: clip(t.Lookup.Silent),
		AnswerRate: answerRate(t.Lookup), MedianAnswerMillis: percentile(t.Lookup, 0.5), P95AnswerMillis: percentile(t.Lookup, 0.95),
		OpenOrders: clip(t.Orders.Open()), OverdueOrders: clip(t.Orders.Overdue),
	}
	for _, row := range r.Rows {
		c.Platforms = append(c.Platforms, &oversightv1.PlatformCoverage{
			PlatformId: string(row.Entry.ID), DisplayName: row.Entry.DisplayName, Category: row.Entry.Category, Joined: row.Entry.Joined(),
			Asked: clip(row.Lookup.Asked), Answered: clip(row.Lookup.Answered), Silent: clip(row.Lookup.Silent), Malformed: clip(row.Lookup.Malformed),
			AnswerRate: answerRate(row.Lookup), MedianAnswerMillis: percentile(row.Lookup, 0.5), P95AnswerMillis: percentile(row.Lookup, 0.95),
			OpenOrders: clip(row.Orders.Open()), OverdueOrders: clip(row.Orders.Overdue),
			CompletedOrders: clip(row.Orders.Completed), RefusedOrders: clip(row.Orders.Refused),
		})
	}
	return &oversightv1.GetCoverageResponse{Coverage: c}, nil
}

func answerRate(t coverage.Tally) *float64 {
	if v, ok := t.Rate(); ok {
		return &v
	}
	return nil
}

func percentile(t coverage.Tally, p float64) *int32 {
	if v, ok := t.Percentile(p); ok {
		return &v
	}
	return nil
}

// clip keeps a count within int32, which REST clients read without strings.
func clip(n int64) int32 { return int32(min(max(n, 0), math.MaxInt32)) }
