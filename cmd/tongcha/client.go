package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/admin"
)

// adminTimeout bounds one call of the operator's.
const adminTimeout = 15 * time.Second

// maxAnswer bounds one answer: a whole catalogue, before and after.
const maxAnswer = 64 << 20

// withHub calls the running hub of the data folder through its socket.
func withHub(cmd *cobra.Command, call func(context.Context, adminv1.AdminServiceClient) error) error {
	return withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		return call(ctx, adminv1.NewAdminServiceClient(conn))
	})
}

// withConn is withHub for the other services of the socket, for at most limit.
func withConn(cmd *cobra.Command, limit time.Duration, call func(context.Context, grpc.ClientConnInterface) error) error {
	folder, err := hubFolder(cmd)
	if err != nil {
		return err
	}
	socket := server.Socket(folder)
	conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return admin.Dial(ctx, socket) }))
	if err != nil {
		return fmt.Errorf("connect to the hub: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	err = call(ctx, conn)
	if st, ok := status.FromError(err); ok && err != nil && len(st.Details()) == 0 { // not an answer of the hub's own
		switch st.Code() {
		case codes.Unavailable:
			return &exitError{code: exitUnreachable, err: fmt.Errorf("no hub answers at %s; is it running, and is --data (or TONGCHA_DATA) its data folder?", socket)}
		case codes.Unimplemented:
			return errors.New("the running hub is older than this program and can't do that; start the newer one")
		}
	}
	return err
}
