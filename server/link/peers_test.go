package link_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

func TestPeersRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config  func(t *testing.T, w *world) *tls.Config
		problem string
	}{
		"wrong SAN": {func(t *testing.T, w *world) *tls.Config {
			return pki.ServerConfig(issue(t, w.ca, pki.RolePlatform, "shop2", 0), domain)
		}, "its certificate belongs to another identity"},
		"wrong role": {func(t *testing.T, w *world) *tls.Config {
			return pki.ServerConfig(issue(t, w.ca, pki.RoleCarrier, "shop", 0), domain)
		}, "its certificate belongs to another identity"},
		"other CA": {func(t *testing.T, w *world) *tls.Config {
			other := issue(t, newCA(t), pki.RolePlatform, "shop", 0)
			other.Roots = w.ca.Roots
			return pki.ServerConfig(other, domain)
		}, "its certificate is from another authority"},
		"expired": {func(t *testing.T, w *world) *tls.Config {
			c := pki.ServerConfig(issue(t, w.ca, pki.RolePlatform, "shop", time.Minute), domain)
			time.Sleep(2 * time.Minute)
			return c
		}, "its certificate has expired"},
		"not the hub's CA": {func(t *testing.T, w *world) *tls.Config {
			c := issue(t, w.ca, pki.RolePlatform, "shop", 0)
			c.Roots = newCA(t).Roots // it refuses the hub
			return pki.ServerConfig(c, domain)
		}, "it is unavailable or closes the connection; it may not accept the hub's certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var called atomic.Bool
				w.serve(shopAt, c.config(t, w), func(s *grpc.Server) {
					connectorv1.RegisterConnectorServiceServer(s, &connector{lookup: func(context.Context, *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
						called.Store(true)
						return nil, status.Error(codes.Internal, "no")
					}})
				})
				_, p := w.shop()
				if a := ask(t, p, time.Second).wait(); a.State != platform.Silent || a.Malformed || called.Load() {
					t.Errorf("%+v", a)
				}
				if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != c.problem {
					t.Errorf("%+v", i)
				}
			})
		})
	}
}

func TestPlaintext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen(shopAt)
		s := grpc.NewServer(grpc.Creds(insecure.NewCredentials()))
		connectorv1.RegisterConnectorServiceServer(s, &connector{})
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		_, p := w.shop()
		if a := ask(t, p, time.Second).wait(); a.State != platform.Silent {
			t.Errorf("%+v", a)
		}
		if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != "it does not speak TLS" {
			t.Errorf("%+v", i)
		}
	})
}

// A peer that accepts and says nothing holds a call until its deadline at most.
func TestAcceptOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	w := newWorld(t)
	opts := w.options()
	opts.Dialer = nil
	r := link.NewRoster(opts)
	defer r.Close()
	if err := r.Join(platform.Entry{ID: "shop", Address: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	p, _ := r.Get("shop")
	q := ask(t, p, time.Second)
	timer := time.AfterFunc(300*time.Millisecond, func() { p.Withdraw(&q.Call) }) // as a lookup does
	defer timer.Stop()
	if a := q.wait(); a.State != platform.Silent || a.Malformed || a.Took < 300*time.Millisecond || a.Took > 900*time.Millisecond {
		t.Errorf("%+v", a)
	}
	left := ask(t, p, 300*time.Millisecond) // nobody withdraws this one
	if a := left.wait(); a.State != platform.Silent || a.Took < 300*time.Millisecond || a.Took > 900*time.Millisecond {
		t.Errorf("%+v", a)
	}
}
