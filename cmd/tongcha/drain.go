package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
)

// drainLook is how often a drain looks whether the hub is idle.
const drainLook = 200 * time.Millisecond

func newDrain() *cobra.Command {
	var wait time.Duration
	var undo bool
	cmd := &cobra.Command{
		Use: "drain", Short: "Take no new work, and wait until a running hub can be stopped", Args: cobra.NoArgs,
		Long: "Take no new work, and wait until a running hub can be stopped without anybody noticing.\n\n" +
			"/readyz fails at once, so that a load balancer turns away. When the hub's --shutdown-delay is over, new\n" +
			"verifications, lookups and unbind orders are refused with SHUTTING_DOWN and a time to come back, and no more\n" +
			"orders are sent to platforms. Lookups that run end as usual; people go on reading, and platforms reporting.\n" +
			"Nothing is lost: orders wait on disk. A hub that is started again serves.\n\n" +
			"Exit codes: 0 the hub is idle (or serves again), 1 something is still under way when --wait is over (the hub\n" +
			"goes on draining), 2 the command line is wrong, 3 no hub answers.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return usageError("--wait must not be negative")
			}
			return withConn(cmd, wait+adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				c := adminv1.NewHubServiceClient(conn)
				if undo {
					return undrain(ctx, cmd, c)
				}
				return drain(ctx, cmd, c, wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait until the hub is idle")
	cmd.Flags().BoolVar(&undo, "undo", false, "go back to serving")
	addOutput(cmd)
	return cmd
}

func undrain(ctx context.Context, cmd *cobra.Command, c adminv1.HubServiceClient) error {
	resp, err := c.Undrain(ctx, &adminv1.UndrainRequest{})
	if err != nil {
		return err
	}
	return emit(cmd, resp.GetStatus(), drainTable(resp.GetStatus()))
}

// drain says on standard error what is still under way, whenever that changes.
func drain(ctx context.Context, cmd *cobra.Command, c adminv1.HubServiceClient, wait time.Duration) error {
	resp, err := c.Drain(ctx, &adminv1.DrainRequest{})
	if err != nil {
		return err
	}
	s, last := resp.GetStatus(), ""
	over := time.NewTimer(wait)
	defer over.Stop()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for s.GetState() == "DRAINING" {
		if now := underWay(s); now != last {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "draining: "+now)
			last = now
		}
		select {
		case <-look.C:
		case <-over.C:
			return errors.Join(emit(cmd, s, drainTable(s)), fmt.Errorf("still under way after %s: %s; wait on with the same command, or stop the hub, which gives them 10 s more", wait, underWay(s)))
		case <-ctx.Done():
			return ctx.Err()
		}
		next, err := c.GetStatus(ctx, &adminv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		s = next.GetStatus()
	}
	if s.GetState() != "DRAINED" {
		return fmt.Errorf("the hub is not drained but %s: somebody else stopped it or took the drain back", s.GetState())
	}
	return emit(cmd, s, drainTable(s))
}

func drainTable(s *adminv1.HubStatus) table {
	next := "the hub can be stopped"
	switch s.GetState() {
	case "SERVING":
		next = "the hub takes requests"
	case "DRAINING":
		next = "the hub is not idle yet"
	}
	return table{{"state", s.GetState()}, {"under way", underWay(s)}, {"result", next}}
}
