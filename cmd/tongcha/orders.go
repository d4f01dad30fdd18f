package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
)

func newUnbind() *cobra.Command {
	cmd := &cobra.Command{Use: "unbind", Short: "Look at unbind orders of a running hub"}
	cmd.AddCommand(newUnbindList(), newUnbindShow())
	return cmd
}

func newUnbindList() *cobra.Command {
	req := new(adminv1.ListUnbindsRequest)
	cmd := &cobra.Command{
		Use: "list", Short: "List orders, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.State = strings.ToUpper(req.State)
			if req.State != "" && !slices.Contains(orderStates(), req.State) {
				return usageError("--state must be one of %s", strings.Join(orderStates(), ", "))
			}
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.ListUnbinds(ctx, req)
				if err != nil {
					return err
				}
				t := table{{"ORDER", "PLATFORM", "STATE", "ATTEMPTS", "TAKEN", "DUE", "NEXT", "OVERDUE"}}
				for _, o := range resp.GetUnbinds() {
					t = append(t, []string{
						o.GetUnbindId(), o.GetPlatformId(), o.GetState(), strconv.Itoa(int(o.GetAttempts())),
						when(o.GetCreateTime()), when(o.GetDueTime()), when(o.GetNextTime()), yes(o.GetOverdue()),
					})
				}
				return emit(cmd, resp, t)
			})
		},
	}
	cmd.Flags().StringVar(&req.PlatformId, "platform", "", "only this platform's")
	cmd.Flags().StringVar(&req.State, "state", "", "only those in this state, such as QUEUED")
	cmd.Flags().Int32Var(&req.Limit, "limit", 50, "at most so many, up to 1000")
	addOutput(cmd)
	return cmd
}

func orderStates() []string {
	return []string{"QUEUED", "SENDING", "IN_REVIEW", "ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED", "APPEALED"}
}

func newUnbindShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ORDER", Short: "Show one order with its history", Args: cobra.ExactArgs(1),
		ValidArgsFunction: anyOrderIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.GetUnbind(ctx, &adminv1.GetUnbindRequest{UnbindId: args[0]})
				if err != nil {
					return err
				}
				return showOrder(cmd, resp.GetUnbind())
			})
		},
	}
	addOutput(cmd)
	return cmd
}

// showOrder prints an order and, as a table of its own, its history.
func showOrder(cmd *cobra.Command, o *adminv1.Unbind) error {
	if err := emit(cmd, o, orderTable(o)); err != nil {
		return err
	}
	if form, err := cmd.Flags().GetString("output"); err != nil || form != "table" {
		return err
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout())
	return historyTable(o).write(cmd.OutOrStdout(), "")
}

func orderTable(o *adminv1.Unbind) table {
	t := table{
		{"order", o.GetUnbindId()},
		{"platform", o.GetPlatformId()},
		{"state", o.GetState()},
		{"refused because", dash(o.GetRefusalReason())},
		{"attempts", strconv.Itoa(int(o.GetAttempts()))},
		{"taken", when(o.GetCreateTime())},
		{"due", when(o.GetDueTime())},
		{"overdue", yes(o.GetOverdue())},
		{"next", when(o.GetNextTime())},
		{"open since", when(o.GetOpenTime())},
		{"holder checked", when(o.GetHolderCheckTime())},
		{"asked in a row", strconv.Itoa(int(o.GetPolls()))},
		{"appeals", strconv.Itoa(int(o.GetAppeals()))},
	}
	if o.GetDiscarded() {
		t = append(t, []string{"discarded because", o.GetNote()})
	}
	return t
}

func historyTable(o *adminv1.Unbind) table {
	t := table{{"TIME", "STATE", "OUTCOME", "TOOK"}}
	for _, h := range o.GetHistory() {
		state, took := h.GetState(), "-"
		if h.GetAttempt() > 0 {
			state += ", attempt " + strconv.Itoa(int(h.GetAttempt()))
		}
		if h.TookMillis != nil {
			took = (time.Duration(h.GetTookMillis()) * time.Millisecond).String()
		}
		t = append(t, []string{when(h.GetTime()), state, dash(h.GetReason()), took})
	}
	return t
}

func newQueue() *cobra.Command {
	cmd := &cobra.Command{Use: "queue", Short: "Look at the unbind queue of a running hub, pause it and resume it"}
	stats := &cobra.Command{
		Use: "stats", Short: "Count orders by platform and state", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.GetQueueStats(ctx, &adminv1.GetQueueStatsRequest{})
				if err != nil {
					return err
				}
				if err := emit(cmd, resp, statsTable(resp)); err != nil || len(resp.GetPauses()) == 0 {
					return err
				}
				return emitPauses(cmd, resp.GetPauses())
			})
		},
	}
	addOutput(stats)
	cmd.AddCommand(stats, newQueueList(), newQueuePause(), newQueueResume())
	return cmd
}

func statsTable(resp *adminv1.GetQueueStatsResponse) table {
	t := table{{"PLATFORM", "QUEUED", "SENDING", "AT PLATFORM", "OVERDUE", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED", "BREAKER"}}
	for _, p := range resp.GetPlatforms() {
		row := []string{p.GetPlatformId()}
		for _, n := range []int32{
			p.GetQueued(), p.GetSending(), p.GetInReview(), p.GetOverdue(), p.GetCompleted(), p.GetRefused(), p.GetAbandoned(), p.GetCancelled(),
		} {
			row = append(row, strconv.Itoa(int(n)))
		}
		t = append(t, append(row, dash(p.GetFlow().GetBreaker())))
	}
	return t
}
