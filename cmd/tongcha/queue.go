package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// The rows that a list of the queue shows; a page of the hub's has at most 1000.
const (
	pageRows = 1000
	mostRows = 100_000
)

// withQueue calls the queue of the running hub.
func withQueue(cmd *cobra.Command, limit time.Duration, call func(context.Context, adminv1.QueueServiceClient) error) error {
	return withConn(cmd, limit, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		return call(ctx, adminv1.NewQueueServiceClient(conn))
	})
}

func newQueueList() *cobra.Command {
	req := new(adminv1.ListOpenOrdersRequest)
	var limit int32
	cmd := &cobra.Command{
		Use: "list", Short: "List open orders, the oldest due first", Args: cobra.NoArgs,
		Long: "List open orders, the oldest due first: what each waits for, when it is tried next, and what came of the last\n" +
			"attempt. DUE and NEXT TRY are from now.",
		Example: "  tongcha queue list --overdue\n" +
			"  tongcha queue list --platform mall --state IN_REVIEW --limit 200",
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.State = strings.ToUpper(req.State)
			if req.State != "" && !slices.Contains(openStates(), req.State) {
				return usageError("--state must be one of %s", strings.Join(openStates(), ", "))
			}
			if err := checkLimit(limit); err != nil {
				return err
			}
			return listOpen(cmd, req, limit)
		},
	}
	cmd.Flags().StringVar(&req.PlatformId, "platform", "", "only this platform's")
	cmd.Flags().StringVar(&req.State, "state", "", "only those in this state, such as QUEUED")
	cmd.Flags().BoolVar(&req.Overdue, "overdue", false, "only those past their due time")
	cmd.Flags().Int32Var(&limit, "limit", 50, "at most so many, up to 100000")
	complete(cmd, "state", cobra.FixedCompletions(openStates(), cobra.ShellCompDirectiveNoFileComp))
	addOutput(cmd)
	return cmd
}

func checkLimit(limit int32) error {
	if limit < 1 || limit > mostRows {
		return usageError("--limit must be 1 to %d", mostRows)
	}
	return nil
}

// openStates are those an order leaves again.
func openStates() []string {
	return []string{"QUEUED", "SENDING", "IN_REVIEW", "ACTION_REQUIRED", "APPEALED"}
}

func listOpen(cmd *cobra.Command, req *adminv1.ListOpenOrdersRequest, limit int32) error {
	all := new(adminv1.ListOpenOrdersResponse)
	err := withQueue(cmd, adminTimeout, func(ctx context.Context, c adminv1.QueueServiceClient) error {
		return pages(limit, func(n int32, token string) (int, string, error) {
			req.Limit, req.PageToken = n, token
			resp, err := c.ListOpenOrders(ctx, req)
			all.Unbinds, all.NextPageToken = append(all.GetUnbinds(), resp.GetUnbinds()...), resp.GetNextPageToken()
			return len(resp.GetUnbinds()), resp.GetNextPageToken(), err
		})
	})
	if err != nil {
		return err
	}
	now := time.Now()
	t := table{{"ORDER", "PLATFORM", "STATE", "DUE", "ATTEMPTS", "NEXT TRY", "LAST OUTCOME"}}
	for _, o := range all.GetUnbinds() {
		t = append(t, []string{
			o.GetUnbindId(), o.GetPlatformId(), o.GetState(), from(o.GetDueTime(), now), strconv.Itoa(int(o.GetAttempts())),
			nextTry(o, now), dash(o.GetLastOutcome()),
		})
	}
	if err := emit(cmd, all, t); err != nil {
		return err
	}
	tellMore(cmd, all.GetNextPageToken(), limit)
	return nil
}

// pages reads a list page by page until it has limit rows or the list ends.
func pages(limit int32, page func(n int32, token string) (int, string, error)) error {
	for left, token := limit, ""; left > 0; {
		n, next, err := page(min(left, pageRows), token)
		if err != nil || next == "" || n == 0 {
			return err
		}
		left, token = left-int32(n), next
	}
	return nil
}

func tellMore(cmd *cobra.Command, next string, limit int32) {
	if next != "" {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "these are the first %d; there are more, see --limit\n", limit)
	}
}

// from is a time as it is from now.
func from(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "-"
	}
	return relative(t.AsTime(), now)
}

// nextTry is when the hub acts on an order; what is past waits for its turn, or
// for a platform that is away or a pause to end.
func nextTry(o *adminv1.Unbind, now time.Time) string {
	if o.GetNextTime() != nil && o.GetNextTime().AsTime().Before(now) {
		return "due"
	}
	return from(o.GetNextTime(), now)
}

func newQueuePause() *cobra.Command {
	req := new(adminv1.PauseQueueRequest)
	cmd := &cobra.Command{
		Use: "pause", Short: "Send no more orders, to one platform or to all", Args: cobra.NoArgs,
		Long: "Send no more orders, to one platform or to all. Attempts under way go on to their end. People go on ordering, and\n" +
			"platforms reporting; orders wait on disk and become due and overdue as ever.\n\n" +
			"The pause lasts until `tongcha queue resume`, also over restarts of the hub, and apart from any drain. While it\n" +
			"lasts `tongcha status` has the finding QUEUE_PAUSED. Pausing again replaces the reason.\n\n" +
			"Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 no hub answers.",
		Example: "  tongcha queue pause --platform mall --reason 'moves its data centre until Sunday'\n" +
			"  tongcha queue pause --reason 'wrong unbinds reported, being looked at'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkNote("--reason", req.GetReason()); err != nil {
				return err
			}
			req.By = who()
			return withQueue(cmd, adminTimeout, func(ctx context.Context, c adminv1.QueueServiceClient) error {
				resp, err := c.PauseQueue(ctx, req)
				if err != nil {
					return err
				}
				return emit(cmd, resp, pauseTable(resp.GetPauses()))
			})
		},
	}
	cmd.Flags().StringVar(&req.PlatformId, "platform", "", "only this platform's orders")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record, at most 200 characters (required)")
	addOutput(cmd)
	return cmd
}

func newQueueResume() *cobra.Command {
	req := new(adminv1.ResumeQueueRequest)
	cmd := &cobra.Command{
		Use: "resume", Short: "Send orders again", Args: cobra.NoArgs,
		Long: "End the pause of all, or with --platform that of one platform. One does not end the other. Orders that are due go\n" +
			"at once, each platform's at its own rate. Where none is in force nothing changes.\n\n" +
			"Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 no hub answers.",
		Example: "  tongcha queue resume\n  tongcha queue resume --platform mall",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withQueue(cmd, adminTimeout, func(ctx context.Context, c adminv1.QueueServiceClient) error {
				resp, err := c.ResumeQueue(ctx, req)
				if err != nil {
					return err
				}
				if !resp.GetResumed() {
					_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "no such pause was in force")
				}
				return emit(cmd, resp, pauseTable(resp.GetPauses()))
			})
		},
	}
	cmd.Flags().StringVar(&req.PlatformId, "platform", "", "end the pause of this platform")
	addOutput(cmd)
	return cmd
}

// pauseTable shows what is paused.
func pauseTable(pauses []*adminv1.QueuePause) table {
	if len(pauses) == 0 {
		return table{{"paused", "nothing"}}
	}
	t := table{{"PAUSED", "SINCE", "BY", "REASON"}}
	for _, p := range pauses {
		name := p.GetPlatformId()
		if name == "" {
			name = "all platforms"
		}
		t = append(t, []string{name, when(p.GetPauseTime()), dash(p.GetBy()), p.GetReason()})
	}
	return t
}

// emitPauses shows them below another table; as JSON they are in it.
func emitPauses(cmd *cobra.Command, pauses []*adminv1.QueuePause) error {
	if form, err := cmd.Flags().GetString("output"); err != nil || form != "table" {
		return err
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout())
	return pauseTable(pauses).write(cmd.OutOrStdout(), "")
}

// checkNote refuses a text that the hub would refuse, before it is sent.
func checkNote(flag, text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return usageError("%s is required: say why, for the record", flag)
	case !platform.IsPlainText(text, 200):
		return usageError("%s has at most 200 characters, and no control characters", flag)
	case platform.HoldsNumber(text):
		return usageError("%s holds what may be a number, such as 7 digits in a row; leave it out, it would be kept", flag)
	}
	return nil
}

// who works at the command line, by the system's name; empty where that may be a
// number or can't be told.
func who() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	if !platform.IsPlainText(name, 64) || platform.HoldsNumber(name) {
		return ""
	}
	return name
}
