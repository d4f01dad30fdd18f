package rpc

import (
	"cmp"
	"context"
	"slices"

	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
)

// GetUnbindCoverage implements oversight.v1.CoverageService.
func (h *handlers) GetUnbindCoverage(ctx context.Context, r *oversightv1.GetUnbindCoverageRequest) (*oversightv1.GetUnbindCoverageResponse, error) {
	report, err := h.report(ctx, r)
	if err != nil {
		return nil, err
	}
	u := &oversightv1.UnbindCoverage{
		FromDate: report.From.String(), ToDate: report.To.String(), AsOf: stamp(report.AsOf),
		OpenOrders: clip(report.Total.Orders.Open()), OverdueOrders: clip(report.Total.Orders.Overdue), Total: unbindFigures(report.Total.Unbinds),
	}
	for _, row := range report.Rows {
		u.Platforms = append(u.Platforms, &oversightv1.PlatformUnbinds{
			PlatformId: string(row.Entry.ID), DisplayName: row.Entry.DisplayName, Category: row.Entry.Category,
			OpenOrders: clip(row.Orders.Open()), OverdueOrders: clip(row.Orders.Overdue), Unbinds: unbindFigures(row.Unbinds),
		})
	}
	for _, c := range report.Categories {
		u.Categories = append(u.Categories, &oversightv1.CategoryUnbinds{Category: c.Name, Unbinds: unbindFigures(c.Unbinds)})
	}
	for _, d := range report.Days {
		u.Days = append(u.Days, &oversightv1.DayUnbinds{Date: d.Day.String(), Unbinds: unbindFigures(d.Unbinds)})
	}
	return &oversightv1.GetUnbindCoverageResponse{Unbinds: u}, nil
}

func unbindFigures(u coverage.Unbinds) *oversightv1.UnbindFigures {
	f := &oversightv1.UnbindFigures{
		Taken: clip(u.Taken), Completed: clip(u.Completed), Refused: clip(u.Refusals()), Abandoned: clip(u.Abandoned), Cancelled: clip(u.Cancelled),
		Due: clip(u.Due), OnTime: clip(u.OnTime), Missed: clip(u.Due - u.OnTime), OnTimeRate: known(u.OnTimeRate()),
	}
	for _, percent := range []int32{50, 90, 95} {
		within, ok := u.EndWithin(float64(percent) / 100)
		if !ok {
			return f
		}
		never := within == coverage.Never
		f.EndTimes = append(f.EndTimes, &oversightv1.EndTime{Percent: percent, WithinSeconds: known(within, !never), TimedOut: never})
	}
	return f
}

// GetRefusals implements oversight.v1.CoverageService.
func (h *handlers) GetRefusals(ctx context.Context, r *oversightv1.GetRefusalsRequest) (*oversightv1.GetRefusalsResponse, error) {
	report, err := h.report(ctx, r)
	if err != nil {
		return nil, err
	}
	all := &oversightv1.Refusals{
		FromDate: report.From.String(), ToDate: report.To.String(), AsOf: stamp(report.AsOf),
		Refused: clip(report.Total.Unbinds.Refusals()), Reasons: refusalCounts(report.Total.Unbinds),
	}
	for _, row := range report.Rows {
		if row.Unbinds.Refusals() <= 0 {
			continue
		}
		all.Platforms = append(all.Platforms, &oversightv1.PlatformRefusals{
			PlatformId: string(row.Entry.ID), DisplayName: row.Entry.DisplayName, Category: row.Entry.Category,
			Refused: clip(row.Unbinds.Refusals()), Reasons: refusalCounts(row.Unbinds),
		})
	}
	return &oversightv1.GetRefusalsResponse{Refusals: all}, nil
}

// refusalCounts lists reasons, the most frequent first.
func refusalCounts(u coverage.Unbinds) []*oversightv1.RefusalCount {
	var out []*oversightv1.RefusalCount
	for reason, n := range u.Refused {
		if n > 0 {
			out = append(out, &oversightv1.RefusalCount{Reason: reason, Count: clip(n)})
		}
	}
	slices.SortFunc(out, func(a, b *oversightv1.RefusalCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
