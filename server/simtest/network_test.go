package simtest

import (
	"context"
	"net"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/pki"
)

const (
	domain    = "hub.example"
	hubAt     = "hub.example:1"
	carrierAt = "carrier.example:1"
)

// network joins the hub, the platforms and the carrier in memory.
type network struct {
	mu    sync.Mutex
	nodes map[string]*bufconn.Listener
	conns map[string][]net.Conn
	shut  func(address string) bool // refuses connections now
}

func newNetwork() *network {
	return &network{nodes: make(map[string]*bufconn.Listener), conns: make(map[string][]net.Conn), shut: func(string) bool { return false }}
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.nodes[address]
	n.mu.Unlock()
	if l == nil || n.shut(address) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	c, err := l.DialContext(ctx)
	if err == nil {
		n.mu.Lock()
		n.conns[address] = append(n.conns[address], c)
		n.mu.Unlock()
	}
	return c, err
}

// cut ends every connection to the address.
func (n *network) cut(address string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	gone := n.conns[address]
	n.conns[address] = nil
	n.mu.Unlock()
	for _, c := range gone {
		_ = c.Close()
	}
}

// serve runs a gRPC server at an address until the returned function is called.
func (n *network) serve(address string, s *grpc.Server) (stop func()) {
	l := bufconn.Listen(256 << 10)
	n.mu.Lock()
	n.nodes[address] = l
	n.mu.Unlock()
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	return func() {
		n.mu.Lock()
		delete(n.nodes, address)
		n.mu.Unlock()
		s.Stop()
		done.Wait()
	}
}

func (w *world) credentials(role pki.Role, id string) pki.Credentials {
	pair, _, err := w.ca.Issue(role, id, pki.IssueOptions{Lifetime: 400 * day})
	w.must(err)
	cert, err := pair.TLS()
	w.must(err)
	return pki.Fixed(cert, w.ca.Roots())
}

func (w *world) tls(role pki.Role, id string) grpc.ServerOption {
	return grpc.Creds(credentials.NewTLS(pki.ServerConfig(w.credentials(role, id), domain)))
}

// connect puts the platforms and the carrier on the network.
func (w *world) connect() {
	w.net = newNetwork()
	by := make(map[string]*peer)
	for _, p := range w.peers {
		by[p.address()] = p
	}
	w.net.shut = func(address string) bool { return by[address] != nil && by[address].troubleAway.now() }
	for _, p := range w.peers {
		s := grpc.NewServer(w.tls(pki.RolePlatform, string(p.id)), grpc.WaitForHandlers(true))
		connectorv1.RegisterConnectorServiceServer(s, &connector{p: p})
		w.atEnd(w.net.serve(p.address(), s))
		for _, t := range p.troubleAway {
			w.at(t.from, func() { w.net.cut(p.address()) })
		}
		hub := pki.Identity{TrustDomain: domain, Role: pki.RoleHub, ID: "main"}
		conn, err := grpc.NewClient("passthrough:///"+hubAt, grpc.WithContextDialer(w.net.dial), grpc.WithIdleTimeout(hour),
			grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientConfig(w.credentials(pki.RolePlatform, string(p.id)), hub))))
		w.must(err)
		w.atEnd(func() { _ = conn.Close() })
		p.members = hubv1.NewMembershipServiceClient(conn)
	}
	s := grpc.NewServer(w.tls(pki.RoleCarrier, "unicom"), grpc.WaitForHandlers(true))
	carrierv1.RegisterCarrierServiceServer(s, w.carrier)
	w.atEnd(w.net.serve(carrierAt, s))
}

// connector is a platform's gRPC server.
type connector struct {
	connectorv1.UnimplementedConnectorServiceServer
	p *peer
}

// Describe implements connector.v1.
func (c *connector) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	return &connectorv1.DescribeResponse{
		PlatformId: string(c.p.id), Functions: []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP, connectorv1.Function_FUNCTION_UNBIND},
		UnbindMode: connectorv1.UnbindMode(connectorv1.UnbindMode_value["UNBIND_MODE_"+c.p.mode]), ProtocolVersion: "1.0",
	}, nil
}

// RequestUnbind implements connector.v1.
func (c *connector) RequestUnbind(ctx context.Context, r *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	s := sending{id: r.GetOrderId(), number: r.GetPhoneNumber(), refs: r.GetAccountRefs(), attempt: int(r.GetAttempt()), appeal: int(r.GetAppeal()), run: c.p.w.runNumber()}
	if r.GetBoundBefore() != nil {
		s.before = r.GetBoundBefore().AsTime()
	}
	a := c.p.unbind(ctx, s)
	if err := a.err(); err != nil {
		return nil, err
	}
	return &connectorv1.RequestUnbindResponse{Result: a.result()}, nil
}

// GetUnbind implements connector.v1.
func (c *connector) GetUnbind(ctx context.Context, r *connectorv1.GetUnbindRequest) (*connectorv1.GetUnbindResponse, error) {
	a := c.p.status(ctx, r.GetOrderId(), c.p.w.runNumber())
	if err := a.err(); err != nil {
		return nil, err
	}
	return &connectorv1.GetUnbindResponse{Result: a.result()}, nil
}
