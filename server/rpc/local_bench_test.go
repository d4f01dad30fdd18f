package rpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
)

// BenchmarkWayIn compares a call over an in-memory connection with one in
// process, for an answer of one row and one of 32.
func BenchmarkWayIn(b *testing.B) {
	var c rows
	for i := range 32 {
		c = append(c, platform.Entry{ID: platform.ID(fmt.Sprintf("p%02d", i)), DisplayName: "平台", Category: "网上购物", SelfServiceURL: "https://shop.example/"})
	}
	s := rpc.New(rpc.Options{Catalogue: c, Logger: slog.New(slog.DiscardHandler)})
	for name, conn := range map[string]grpc.ClientConnInterface{"connection": overBufconn(b, s.Inner()), "process": s.Local()} {
		for _, rows := range []int32{1, 32} {
			b.Run(fmt.Sprintf("%s/%d", name, rows), func(b *testing.B) {
				c := hubv1.NewCatalogueServiceClient(conn)
				ctx := metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer x", "x-tongcha-address", "192.0.2.1")
				b.ReportAllocs()
				for b.Loop() {
					if r, err := c.ListPlatforms(ctx, &hubv1.ListPlatformsRequest{PageSize: rows}); err != nil || len(r.GetPlatforms()) != int(rows) {
						b.Fatal(r, err)
					}
				}
			})
		}
	}
}

// rows is a catalogue of platforms that have not joined.
type rows []platform.Entry

func (r rows) Entries() []platform.Entry                  { return r }
func (rows) Info(platform.ID) (platform.Info, bool)       { return platform.Info{}, false }
func (rows) Functions(platform.ID) (f platform.Functions) { return f }

func overBufconn(b *testing.B, s *grpc.Server) *grpc.ClientConn {
	pipe := bufconn.Listen(256 << 10)
	go func() { _ = s.Serve(pipe) }()
	b.Cleanup(s.Stop)
	c, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}
