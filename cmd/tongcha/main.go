// Command tongcha is the hub and everything around it in one binary.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc/grpclog"
)

func main() { os.Exit(run()) }

// run returns the exit code. A second signal ends the process at once.
func run() int {
	// gRPC's own lines are not ours: no JSON, no level, and peers can cause them.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := newRoot().ExecuteContext(ctx); err != nil {
		awaitEnd(err)
		fmt.Fprintln(os.Stderr, "tongcha: "+explain(err))
		return exitCode(err)
	}
	return 0
}
