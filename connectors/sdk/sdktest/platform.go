package sdktest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// PlatformID is the id of a platform that Start runs.
const PlatformID = "shop"

// Platform is a handler that is being served.
type Platform struct {
	connectorv1.ConnectorServiceClient // calls as the hub does

	Authority *Authority
	Listener  *bufconn.Listener
	tb        testing.TB
	stop      func()
}

// Start serves the handler and connects to it as a hub. Both end with the test,
// or earlier with Stop. It works inside a testing/synctest bubble.
func Start(tb testing.TB, h sdk.Handler, change ...func(*sdk.Config)) *Platform {
	tb.Helper()
	p := &Platform{tb: tb, Authority: NewAuthority(tb), Listener: bufconn.Listen(1 << 16)}
	cfg := sdk.Config{
		PlatformID:  PlatformID,
		Listener:    p.Listener,
		Credentials: p.Authority.Issue(sdk.RolePlatform, PlatformID),
		Logger:      slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	srv, err := sdk.New(cfg, h)
	if err != nil {
		tb.Fatal(err)
	}
	p.stop = background(tb, srv.Run)
	p.ConnectorServiceClient = connectorv1.NewConnectorServiceClient(p.Dial(p.Authority.Issue(sdk.RoleHub, "hub-1")))
	return p
}

// Dial connects with any credentials; with none at all it shows no certificate.
func (p *Platform) Dial(c sdk.Credentials) *grpc.ClientConn {
	p.tb.Helper()
	return Dial(p.tb, p.Listener, c)
}

// Stop ends the server as the end of its context does, and waits for it.
func (p *Platform) Stop() { p.stop() }

// Dial connects to a listener in memory, trusting whatever serves there.
func Dial(tb testing.TB, lis *bufconn.Listener, c sdk.Credentials) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithContextDialer(Dialer(lis)),
		grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(tb, c))))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Dialer dials a listener in memory, whatever the address.
func Dialer(lis *bufconn.Listener) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
}

// background runs f until the test ends or the returned function is called.
func background(tb testing.TB, f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			tb.Error(err)
		}
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(stop)
	return stop
}
