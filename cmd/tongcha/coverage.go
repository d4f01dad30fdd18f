package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
)

func newCoverage() *cobra.Command {
	cmd := &cobra.Command{
		Use: "coverage", Short: "Show how many platforms have joined a running hub and how they answer",
		Long: "Show how many platforms have joined a running hub and how they answer. docs/coverage.md defines the figures;\n" +
			"one without data is -, never 0.",
	}
	cmd.AddCommand(newCoverageSummary(), newCoveragePlatforms())
	return cmd
}

const windowHelp = "Days are those of China, as\n2026-10-01, at most 400 of them. Without --to they end today."

// coverageGroups is what --by takes.
func coverageGroups() []string { return []string{"platform", "category", "day"} }

// coverageOrders is what --sort takes.
func coverageOrders() []string { return []string{"id", "answered", "silent", "asked", "weight"} }

func newCoverageSummary() *cobra.Command {
	req := new(oversightv1.GetCoverageRequest)
	cmd := &cobra.Command{
		Use: "summary", Short: "Show the figures of all platforms", Args: cobra.NoArgs,
		Long: "Show the figures of all platforms, since the hub's first day or of the days given. " + windowHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				resp, err := oversightv1.NewCoverageServiceClient(conn).GetCoverage(ctx, req)
				if err != nil {
					return err
				}
				return emit(cmd, resp.GetCoverage(), summaryTable(resp.GetCoverage()))
			})
		},
	}
	addWindow(cmd, &req.FromDate, &req.ToDate)
	addOutput(cmd)
	return cmd
}

func addWindow(cmd *cobra.Command, from, to *string) {
	cmd.Flags().StringVar(from, "from", "", "first day, as 2026-10-01")
	cmd.Flags().StringVar(to, "to", "", "last day")
}

func summaryTable(c *oversightv1.Coverage) table {
	window := "since " + when(c.GetSince())
	if c.FromDate != nil {
		window = c.GetFromDate() + " to " + c.GetToDate()
	}
	s := c.GetShares()
	return table{
		{"counted", window},
		{"catalogued", count(c.GetCatalogued())},
		{"joined", count(c.GetJoined())},
		{"obliged to join", count(s.GetObliged())},
		{"obliged and joined", count(s.GetJoinedObliged())},
		{"joined coverage", percent(s.JoinedCoverage)},
		{"weighted coverage", percent(s.WeightedCoverage)},
		{"effective coverage", percent(s.EffectiveCoverage)},
		{"obliged without weight", count(s.GetUnweighted())},
		{"obliged and joined, not asked", count(s.GetUnmeasured())},
		{"questions asked", count(c.GetAsked())},
		{"answered in time", count(c.GetAnswered()) + ", " + percent(c.AnswerRate)},
		{"silent", count(c.GetSilent()) + ", " + percent(c.SilentRate)},
		{"answered late", count(c.GetLate()) + ", " + percent(c.LateRate)},
		{"outside the contract", count(c.GetMalformed())},
		{"half answered within", within(c.GetResponseTimes(), 50)},
		{"95 of 100 within", within(c.GetResponseTimes(), 95)},
		{"orders open", count(c.GetOpenOrders())},
		{"orders overdue", count(c.GetOverdueOrders())},
	}
}

func count(n int32) string { return strconv.Itoa(int(n)) }

// percent is "-" for a figure without data.
func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return strconv.FormatFloat(100**p, 'f', 1, 64) + "%"
}

// within is a percentile: "timeout" where it lies among the questions without an
// answer, "-" where nothing was asked.
func within(times []*oversightv1.ResponseTime, p int32) string {
	for _, t := range times {
		switch {
		case t.GetPercent() != p:
		case t.GetTimedOut():
			return "timeout"
		default:
			return count(t.GetWithinMillis()) + " ms"
		}
	}
	return "-"
}

func newCoveragePlatforms() *cobra.Command {
	req := new(oversightv1.ListPlatformCoverageRequest)
	var by, order string
	cmd := &cobra.Command{
		Use: "platforms", Short: "Show the figures platform by platform, or by category or day", Args: cobra.NoArgs,
		Long: "Show the figures of the days given platform by platform, or by category or day. " + windowHelp + "\n" +
			"Without --from they begin with the first day that is kept.",
		Example: "  tongcha coverage platforms --sort answered\n" +
			"  tongcha coverage platforms --by day --platform mall --from 2026-10-01",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.GroupBy = strings.ToUpper(by); !slices.Contains(coverageGroups(), by) {
				return usageError("--by must be platform, category or day")
			}
			if !slices.Contains(coverageOrders(), order) {
				return usageError("--sort must be id, answered, silent, asked or weight")
			}
			return withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				resp, err := listCoverage(ctx, oversightv1.NewCoverageServiceClient(conn), req)
				if err != nil {
					return err
				}
				sortCoverage(resp.GetPlatforms(), order)
				return emit(cmd, resp, coverageTable(resp, by))
			})
		},
	}
	addWindow(cmd, &req.FromDate, &req.ToDate)
	cmd.Flags().StringVar(&req.Category, "category", "", "only platforms of this kind of app")
	cmd.Flags().StringVar(&req.PlatformId, "platform", "", "only this platform")
	cmd.Flags().StringVar(&by, "by", "platform", "what a row stands for: platform, category or day")
	cmd.Flags().StringVar(&order, "sort", "id", "order of platforms: id; answered, the worst rate first; silent, asked or weight, the most first")
	addOutput(cmd)
	return cmd
}

// listCoverage fetches every page.
func listCoverage(ctx context.Context, c oversightv1.CoverageServiceClient, req *oversightv1.ListPlatformCoverageRequest) (*oversightv1.ListPlatformCoverageResponse, error) {
	req.PageSize = 500
	all, err := c.ListPlatformCoverage(ctx, req)
	for page := all; err == nil && page.NextPageToken != nil; {
		req.PageToken = page.GetNextPageToken()
		if page, err = c.ListPlatformCoverage(ctx, req); err == nil {
			all.Platforms = append(all.Platforms, page.GetPlatforms()...)
		}
	}
	if err != nil {
		return nil, err
	}
	all.NextPageToken = nil
	return all, nil
}

// sortCoverage orders rows that come ordered by id; those without the figure
// come last.
func sortCoverage(rows []*oversightv1.PlatformCoverage, order string) {
	figure := func(p *oversightv1.PlatformCoverage) *float64 {
		switch order {
		case "answered":
			if p.AnswerRate == nil {
				return nil
			}
			v := -p.GetAnswerRate()
			return &v
		case "silent":
			return p.SilentRate
		case "asked":
			v := float64(p.GetAsked())
			return &v
		case "weight":
			return p.Weight
		}
		return nil
	}
	slices.SortStableFunc(rows, func(a, b *oversightv1.PlatformCoverage) int {
		x, y := figure(a), figure(b)
		switch {
		case x == nil && y == nil:
			return 0
		case x == nil:
			return 1
		case y == nil:
			return -1
		}
		return cmp.Compare(*y, *x)
	})
}

func coverageTable(resp *oversightv1.ListPlatformCoverageResponse, by string) table {
	const asked, answered, silent, late, half, most = "ASKED", "ANSWERED", "SILENT", "LATE", "P50", "P95"
	switch by {
	case "category":
		t := table{{"CATEGORY", "JOINED", "COVERED", "WEIGHTED", "EFFECTIVE", asked, answered, silent, late, half, most}}
		for _, c := range resp.GetCategories() {
			s := c.GetShares()
			t = append(t, append([]string{
				c.GetCategory(), fmt.Sprintf("%d/%d", c.GetJoined(), c.GetCatalogued()),
				percent(s.JoinedCoverage), percent(s.WeightedCoverage), percent(s.EffectiveCoverage),
			}, figureCells(c.GetLookups())...))
		}
		return t
	case "day":
		t := table{{"DAY", asked, answered, silent, late, half, most}}
		for _, d := range resp.GetDays() {
			t = append(t, append([]string{d.GetDate()}, figureCells(d.GetLookups())...))
		}
		return t
	}
	t := table{{"PLATFORM", "NAME", "CATEGORY", "JOINED", "WEIGHT", "OBLIGED SINCE", asked, answered, silent, late, half, most}}
	for _, p := range resp.GetPlatforms() {
		weight := "-"
		if p.Weight != nil {
			weight = strconv.FormatFloat(p.GetWeight(), 'f', -1, 64)
		}
		t = append(t, []string{
			p.GetPlatformId(), dash(p.GetDisplayName()), p.GetCategory(), yes(p.GetJoined()), weight, dash(p.GetObligedSince()), count(p.GetAsked()),
			percent(p.AnswerRate), percent(p.SilentRate), percent(p.LateRate), within(p.GetResponseTimes(), 50), within(p.GetResponseTimes(), 95),
		})
	}
	return t
}

func figureCells(f *oversightv1.LookupFigures) []string {
	return []string{
		count(f.GetAsked()), percent(f.AnswerRate), percent(f.SilentRate), percent(f.LateRate),
		within(f.GetResponseTimes(), 50), within(f.GetResponseTimes(), 95),
	}
}
