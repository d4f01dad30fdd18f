package rpc

import (
	"context"
	"math"
	"slices"

	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// GetCoverage implements oversight.v1.CoverageService.
func (h *handlers) GetCoverage(ctx context.Context, r *oversightv1.GetCoverageRequest) (*oversightv1.GetCoverageResponse, error) {
	q, err := parseWindow(r.GetFromDate(), r.GetToDate(), coverage.DayOf(h.o.Now()))
	if err != nil {
		return nil, err
	}
	if r.GetFromDate() == "" && r.GetToDate() == "" {
		q.Ever, q.From = true, q.To // no day is shown, so none has to be read
	}
	report, err := h.o.Coverage(ctx, q)
	if err != nil {
		return nil, err
	}
	t := report.Total
	c := &oversightv1.Coverage{
		Since: stamp(report.Since), AsOf: stamp(report.AsOf), Catalogued: int32(len(report.Rows)), Joined: int32(report.Joined),
		Asked: clip(t.Lookup.Asked), Answered: clip(t.Lookup.Answered), Silent: clip(t.Lookup.Silent),
		Late: clip(t.Lookup.Late), Malformed: clip(t.Lookup.Malformed),
		AnswerRate: known(t.Lookup.Rate()), LateRate: known(t.Lookup.LateRate()), SilentRate: known(t.Lookup.SilentRate()),
		MedianAnswerMillis: known(t.Lookup.Percentile(0.5)), P95AnswerMillis: known(t.Lookup.Percentile(0.95)),
		ResponseTimes: responseTimes(t.Lookup), Shares: sharesMessage(report.Shares),
		OpenOrders: clip(t.Orders.Open()), OverdueOrders: clip(t.Orders.Overdue),
	}
	if !q.Ever {
		c.FromDate, c.ToDate = optional(report.From.String()), optional(report.To.String())
	}
	for _, row := range report.Rows {
		c.Platforms = append(c.Platforms, platformRow(row, q.Ever))
	}
	return &oversightv1.GetCoverageResponse{Coverage: c}, nil
}

// ListPlatformCoverage implements oversight.v1.CoverageService.
func (h *handlers) ListPlatformCoverage(ctx context.Context, r *oversightv1.ListPlatformCoverageRequest) (*oversightv1.ListPlatformCoverageResponse, error) {
	group := r.GetGroupBy()
	if !slices.Contains([]string{"", "PLATFORM", "CATEGORY", "DAY"}, group) {
		return nil, fault.GroupInvalid.On("groupBy")
	}
	after, err := parsePageToken(r.GetPageToken(), func(s string) bool { _, err := platform.ParseID(s); return err == nil })
	if err != nil {
		return nil, err
	}
	report, err := h.report(ctx, r)
	if err != nil {
		return nil, err
	}
	resp := &oversightv1.ListPlatformCoverageResponse{FromDate: report.From.String(), ToDate: report.To.String()}
	switch group {
	case "CATEGORY":
		for _, c := range report.Categories {
			resp.Categories = append(resp.Categories, &oversightv1.CategoryCoverage{
				Category: c.Name, Catalogued: int32(c.Catalogued), Joined: int32(c.Joined), Shares: sharesMessage(c.Shares), Lookups: lookupFigures(c.Lookup),
			})
		}
	case "DAY":
		for _, d := range report.Days {
			resp.Days = append(resp.Days, &oversightv1.DayCoverage{Date: d.Day.String(), Lookups: lookupFigures(d.Lookup)})
		}
	default:
		resp.Platforms, resp.NextPageToken = platformPage(report.Rows, after, pageSize(r.GetPageSize(), 200, 500))
	}
	return resp, nil
}

func platformPage(rows []coverage.Row, after string, size int) (out []*oversightv1.PlatformCoverage, next *string) {
	for _, row := range rows {
		if string(row.Entry.ID) <= after {
			continue
		}
		if len(out) == size {
			return out, pageToken(out[size-1].PlatformId)
		}
		out = append(out, platformRow(row, false))
	}
	return out, nil
}

// windowed is a request about a window and some platforms.
type windowed interface {
	GetFromDate() string
	GetToDate() string
	GetCategory() string
	GetPlatformId() string
}

// report reads the figures that a request asks for.
func (h *handlers) report(ctx context.Context, r windowed) (coverage.Report, error) {
	q, err := parseWindow(r.GetFromDate(), r.GetToDate(), coverage.DayOf(h.o.Now()))
	if err != nil {
		return coverage.Report{}, err
	}
	if q.Category = r.GetCategory(); q.Category != "" && !platform.IsCategory(q.Category) {
		return coverage.Report{}, fault.CategoryInvalid.On("category")
	}
	q.Platform = platform.ID(r.GetPlatformId())
	if q.Platform != "" && !slices.ContainsFunc(h.o.Catalogue.Entries(), func(e platform.Entry) bool { return e.ID == q.Platform }) {
		return coverage.Report{}, fault.PlatformUnknown.On("platformId")
	}
	return h.o.Coverage(ctx, q)
}

// parseWindow reads two optional days, by default the first that is kept and
// today.
func parseWindow(from, to string, today coverage.Day) (coverage.Query, error) {
	first := today - coverage.KeptDays + 1
	q := coverage.Query{From: first, To: today}
	var err error
	if to != "" {
		if q.To, err = coverage.ParseDay(to); err != nil || q.To > today || q.To < first {
			return q, fault.DateInvalid.On("toDate")
		}
	}
	if from != "" {
		if q.From, err = coverage.ParseDay(from); err != nil || q.From > q.To || q.From < first {
			return q, fault.DateInvalid.On("fromDate")
		}
	}
	return q, nil
}

// platformRow is the row of one platform; ever says that its ended orders are
// those since the hub's first day.
func platformRow(row coverage.Row, ever bool) *oversightv1.PlatformCoverage {
	e, t := row.Entry, row.Lookup
	p := &oversightv1.PlatformCoverage{
		PlatformId: string(e.ID), DisplayName: e.DisplayName, Category: e.Category, Joined: e.Joined(), DisplayNameEn: optional(e.NameEN),
		Asked: clip(t.Asked), Answered: clip(t.Answered), Silent: clip(t.Silent), Malformed: clip(t.Malformed), Late: clip(t.Late),
		AnswerRate: known(t.Rate()), LateRate: known(t.LateRate()), SilentRate: known(t.SilentRate()),
		MedianAnswerMillis: known(t.Percentile(0.5)), P95AnswerMillis: known(t.Percentile(0.95)), ResponseTimes: responseTimes(t),
		OpenOrders: clip(row.Orders.Open()), OverdueOrders: clip(row.Orders.Overdue),
		CompletedOrders: clip(row.Unbinds.Completed), RefusedOrders: clip(row.Unbinds.Refusals()),
	}
	if ever {
		p.CompletedOrders, p.RefusedOrders = clip(row.Orders.Completed), clip(row.Orders.Refused)
	}
	if e.WeightMilli > 0 {
		p.Weight = known(float64(e.WeightMilli)/1000, true)
	}
	if !e.ObligedSince.IsZero() {
		p.ObligedSince = optional(coverage.DayOf(e.ObligedSince).String())
	}
	return p
}

func lookupFigures(t coverage.Tally) *oversightv1.LookupFigures {
	return &oversightv1.LookupFigures{
		Asked: clip(t.Asked), Answered: clip(t.Answered), Late: clip(t.Late), Silent: clip(t.Silent), Malformed: clip(t.Malformed),
		AnswerRate: known(t.Rate()), LateRate: known(t.LateRate()), SilentRate: known(t.SilentRate()), ResponseTimes: responseTimes(t),
	}
}

func sharesMessage(s coverage.Shares) *oversightv1.CoverageShares {
	return &oversightv1.CoverageShares{
		Obliged: int32(s.Obliged), JoinedObliged: int32(s.JoinedObliged), Unweighted: int32(s.Unweighted), Unmeasured: int32(s.Unmeasured),
		JoinedCoverage: known(s.Joined()), WeightedCoverage: known(s.Weighted()), EffectiveCoverage: known(s.Effective()),
	}
}

func responseTimes(t coverage.Tally) []*oversightv1.ResponseTime {
	var out []*oversightv1.ResponseTime
	for _, percent := range []int32{50, 90, 95, 99} {
		within, ok := t.Within(float64(percent) / 100)
		if !ok {
			return nil
		}
		never := within == coverage.Never
		out = append(out, &oversightv1.ResponseTime{Percent: percent, WithinMillis: known(within, !never), TimedOut: never})
	}
	return out
}

// known is nil for a figure without data, so that it is absent and not 0.
func known[T int32 | float64](v T, ok bool) *T {
	if !ok {
		return nil
	}
	return &v
}

// clip keeps a count within int32, which REST clients read without strings.
func clip(n int64) int32 { return int32(min(max(n, 0), math.MaxInt32)) }
