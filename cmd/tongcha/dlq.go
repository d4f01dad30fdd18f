package main

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/seal"
)

func newDLQ() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dlq", Short: "Work dead letters: orders that the hub gave up",
		Long: "Work dead letters: orders that the hub gave up (ABANDONED), because their platform gave no usable answer for too\n" +
			"long or mixed their ids up. Nothing happens to one by itself: find out why, settle it with the platform, then replay\n" +
			"it, or discard it with a note.",
	}
	cmd.AddCommand(newDLQList(), newDLQShow(), newDLQReplay(), newDLQDiscard())
	return cmd
}

// deadFilter is the flags that choose dead letters.
type deadFilter struct {
	platform, reason string
	olderThan        age
}

func (f *deadFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.platform, "platform", "", "only this platform's")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those given up for this reason, such as TOO_OLD")
	cmd.Flags().Var(&f.olderThan, "older-than", "only those given up longer ago, such as 7d or 36h")
	complete(cmd, "reason", cobra.FixedCompletions([]string{"ALREADY_EXISTS", "TOO_OLD"}, cobra.ShellCompDirectiveNoFileComp))
}

var deadReasonForm = regexp.MustCompile(`^[A-Z0-9_]{0,64}$`)

// message is nil where no flag was given.
func (f *deadFilter) message() (*adminv1.DeadLetterFilter, error) {
	reason := strings.ToUpper(f.reason)
	if !deadReasonForm.MatchString(reason) {
		return nil, usageError("--reason is a word such as TOO_OLD; `tongcha dlq list` shows them")
	}
	if f.platform == "" && reason == "" && !f.olderThan.given {
		return nil, nil
	}
	m := &adminv1.DeadLetterFilter{PlatformId: f.platform, Reason: reason}
	if f.olderThan.given {
		m.OlderThan = durationpb.New(f.olderThan.d)
	}
	return m, nil
}

func newDLQList() *cobra.Command {
	var f deadFilter
	var limit int32
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters by platform, the oldest first", Args: cobra.NoArgs,
		Example: "  tongcha dlq list\n  tongcha dlq list --platform mall --reason TOO_OLD --older-than 7d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.message()
			if err != nil {
				return err
			}
			if err := checkLimit(limit); err != nil {
				return err
			}
			all, err := deadLetters(cmd, filter, limit)
			if err != nil {
				return err
			}
			now := time.Now()
			t := table{{"ORDER", "PLATFORM", "REASON", "GIVEN UP", "ATTEMPTS", "TAKEN"}}
			for _, o := range all.GetUnbinds() {
				t = append(t, []string{
					o.GetUnbindId(), o.GetPlatformId(), dash(o.GetLastOutcome()), from(o.GetStateTime(), now), strconv.Itoa(int(o.GetAttempts())), when(o.GetCreateTime()),
				})
			}
			if err := emit(cmd, all, t); err != nil {
				return err
			}
			tellMore(cmd, all.GetNextPageToken(), limit)
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().Int32Var(&limit, "limit", 50, "at most so many, up to 100000")
	addOutput(cmd)
	return cmd
}

func deadLetters(cmd *cobra.Command, f *adminv1.DeadLetterFilter, limit int32) (*adminv1.ListDeadLettersResponse, error) {
	all := new(adminv1.ListDeadLettersResponse)
	return all, withQueue(cmd, adminTimeout, func(ctx context.Context, c adminv1.QueueServiceClient) error {
		return pages(limit, func(n int32, token string) (int, string, error) {
			resp, err := c.ListDeadLetters(ctx, &adminv1.ListDeadLettersRequest{Filter: f, Limit: n, PageToken: token})
			all.Unbinds, all.NextPageToken = append(all.GetUnbinds(), resp.GetUnbinds()...), resp.GetNextPageToken()
			return len(resp.GetUnbinds()), resp.GetNextPageToken(), err
		})
	})
}

func newDLQShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ORDER", Short: "Show one dead letter with its whole history", Args: cobra.ExactArgs(1),
		ValidArgsFunction: deadLetterIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.GetUnbind(ctx, &adminv1.GetUnbindRequest{UnbindId: args[0]})
				if err != nil {
					return err
				}
				o := resp.GetUnbind()
				if o.GetState() != "ABANDONED" || o.GetDiscarded() {
					return errors.New("that order is no dead letter; see it with `tongcha unbind show`, and `tongcha dlq list`")
				}
				return showOrder(cmd, o)
			})
		},
	}
	addOutput(cmd)
	return cmd
}

// orderIDs are ids for a shell, of those that are not on the line yet. Where no
// hub answers none is offered.
func orderIDs(cmd *cobra.Command, args []string, begun string, list func(context.Context, grpc.ClientConnInterface) ([]*adminv1.Unbind, error)) ([]string, cobra.ShellCompDirective) {
	var out []string
	if applySettings(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_ = withConn(cmd, completionTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		orders, err := list(ctx, conn)
		for _, o := range orders {
			if id := o.GetUnbindId(); strings.HasPrefix(id, begun) && !slices.Contains(args, id) {
				out = append(out, cobra.CompletionWithDesc(id, o.GetPlatformId()+", "+o.GetState()))
			}
		}
		return err
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

func deadLetterIDs(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() == "show" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return orderIDs(cmd, args, begun, func(ctx context.Context, conn grpc.ClientConnInterface) ([]*adminv1.Unbind, error) {
		resp, err := adminv1.NewQueueServiceClient(conn).ListDeadLetters(ctx, &adminv1.ListDeadLettersRequest{Limit: pageRows})
		return resp.GetUnbinds(), err
	})
}

func anyOrderIDs(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return orderIDs(cmd, args, begun, func(ctx context.Context, conn grpc.ClientConnInterface) ([]*adminv1.Unbind, error) {
		resp, err := adminv1.NewAdminServiceClient(conn).ListUnbinds(ctx, &adminv1.ListUnbindsRequest{Limit: pageRows})
		return resp.GetUnbinds(), err
	})
}

// areIDs refuses what is no order id, before it is sent anywhere.
func areIDs(args []string) error {
	for i, id := range args {
		if !seal.IsID(id) {
			return usageError("argument %d is no order id: one has %d letters and digits; `tongcha dlq list` shows them", i+1, seal.IDLen)
		}
	}
	return nil
}
