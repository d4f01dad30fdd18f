package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
)

func newStatus() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say how a running hub is, and what needs a look", Args: cobra.NoArgs,
		Long: "Say how a running hub is, and what needs a look. The hub is found by --data.\n\n" +
			"Exit codes: 0 all is well, 1 something needs a look (each thing with what to do), 2 the command line is\n" +
			"wrong, 3 no hub answers. With --live only whether it answers counts: 0 or 3, for a container's health check.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				resp, err := adminv1.NewHubServiceClient(conn).GetStatus(ctx, &adminv1.GetStatusRequest{})
				if err != nil {
					return err
				}
				return showStatus(cmd, resp.GetStatus(), live)
			})
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "exit with 0 also where something needs a look")
	addOutput(cmd)
	return cmd
}

// showStatus prints the status; something that needs a look is an error.
func showStatus(cmd *cobra.Command, s *adminv1.HubStatus, live bool) error {
	if err := emit(cmd, s, statusTable(s)); err != nil {
		return err
	}
	if len(s.GetFindings()) == 0 || live {
		return nil
	}
	lines := make([]string, 0, len(s.GetFindings()))
	for _, f := range s.GetFindings() {
		lines = append(lines, f.GetText()+" ("+f.GetCode()+"): "+f.GetAction())
	}
	return errors.New(strings.Join(lines, "\ntongcha: "))
}

func statusTable(s *adminv1.HubStatus) table {
	now := time.Now()
	t := table{
		{"state", s.GetState()},
		{"version", s.GetVersion()},
		{"started", ago(s.GetStartTime(), now)},
		{"REST", dash(s.GetHttpAddress())},
		{"gRPC", dash(s.GetGrpcAddress())},
		{"metrics", metricsAddress(s)},
		{"platforms", fmt.Sprintf("%d of %d joined, %d serving, %d suspended",
			s.GetPlatformsJoined(), s.GetPlatformsCatalogued(), s.GetPlatformsServing(), s.GetPlatformsSuspended())},
		{"under way", underWay(s)},
		{"orders", fmt.Sprintf("%d open, %d overdue, %d abandoned", s.GetOrdersOpen(), s.GetOrdersOverdue(), s.GetOrdersAbandoned())},
	}
	for _, c := range s.GetCertificates() {
		left := c.GetExpireTime().AsTime().Sub(now)
		t = append(t, []string{c.GetName() + " certificate", fmt.Sprintf("ends in %d days (%s)", int(left.Hours()/24), when(c.GetExpireTime()))})
	}
	t = append(t,
		[]string{"database", fmt.Sprintf("%s, %s free beside it", size(s.GetDatabaseBytes()), size(s.GetFreeBytes()))},
		[]string{"figures written", ago(s.GetFlushTime(), now)},
		[]string{"last sweep", ago(s.GetSweepTime(), now)},
		[]string{"holidays known", "until " + s.GetCalendarEndTime().AsTime().In(chinaTime()).Format(time.DateOnly)},
	)
	verdict := "nothing"
	for _, f := range s.GetFindings() {
		t = append(t, []string{"needs a look", f.GetText()})
		verdict = ""
	}
	if verdict != "" {
		t = append(t, []string{"needs a look", verdict})
	}
	return t
}

func underWay(s *adminv1.HubStatus) string {
	return fmt.Sprintf("%d lookups, %d attempts at orders, %d requests for new work", s.GetLookupsRunning(), s.GetAttemptsUnderWay(), s.GetRequestsUnderWay())
}

func metricsAddress(s *adminv1.HubStatus) string {
	if s.GetMetricsAddress() == "" {
		return "beside REST"
	}
	return s.GetMetricsAddress()
}

// chinaTime is the time that the calendar counts in.
func chinaTime() *time.Location { return time.FixedZone("Asia/Shanghai", 8*60*60) }

// ago is a time and how long it is past, in whole seconds.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "never"
	}
	return fmt.Sprintf("%s ago (%s)", max(now.Sub(t.AsTime()), 0).Truncate(time.Second), when(t))
}

// size is a number of bytes as people read it.
func size(n int64) string {
	switch {
	case n < 0:
		return "an unknown size"
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
