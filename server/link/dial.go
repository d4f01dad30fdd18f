package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

// Dial is how the hub reaches platforms and carriers.
type Dial struct {
	// Credentials are the hub's leaf and roots, read at every handshake.
	Credentials pki.Credentials
	// TrustDomain is the one that peers' identities must be of.
	TrustDomain string
	// Dialer opens a connection to HOST:PORT; nil means TCP.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Now is the hub's clock, which the times that peers give are held against; nil
	// means time.Now. Certificates go by the machine's, as crypto/tls does.
	Now func() time.Time
}

// now is the hub's time.
func (d Dial) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

const (
	receiveLimit  = 256 << 10 // bytes of one message
	headerLimit   = 8 << 10   // bytes of one header list
	connectWithin = 3 * time.Second

	// dialWithin bounds one attempt, before TLS: TCP asks at 0, 1 and 3 s, and a
	// name server that is down is given up after 5 s.
	dialWithin = 6 * time.Second

	// longestBackoff is the longest pause between two attempts to connect, but for
	// a fifth more by chance. With an attempt that began just before a network
	// healed, and what then follows, it stays below 20 s.
	longestBackoff = 10 * time.Second
)

// open makes the connection to one peer; it does not wait for it. The wire has
// tight limits so that a bad peer costs little, and no pings while no call is
// open, since stock servers cut clients that send them.
//
// The window is fixed: the automatic one sends pings of its own and grows to
// 16 MiB for a peer that pours data in.
func (d Dial) open(role pki.Role, id platform.ID, address string, trouble *trouble) (*grpc.ClientConn, error) {
	want := pki.Identity{TrustDomain: d.TrustDomain, Role: role, ID: string(id)}
	dialer := d.Dialer
	if dialer == nil {
		dialer = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(noting{credentials.NewTLS(pki.ClientConfig(d.Credentials, want)), trouble}),
		grpc.WithContextDialer(paced(trouble.watch(dialer))),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestBackoff},
			MinConnectTimeout: connectWithin,
		}),
		// Pings are rare: calls end sooner. What counts is the timeout, by which
		// unacknowledged data ends a dead connection (TCP_USER_TIMEOUT).
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 10 * time.Second}),
		grpc.WithIdleTimeout(0), // stay connected
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithMaxHeaderListSize(headerLimit),
		grpc.WithStaticStreamWindowSize(receiveLimit),
		grpc.WithStaticConnWindowSize(4*receiveLimit),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveLimit)),
	)
}

// paced lets a peer have a few connections at once and then one in a second.
// gRPC waits after a connection that fails, but not after one that succeeds and
// is ended by the peer: while a call waits, it would connect as fast as it can.
//
// TCP has 6 s for a connection. gRPC would give it as long as the pause that
// follows, in which TCP asks again ever more seldom: a network that heals meanwhile
// would be found late.
func paced(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	pace := rate.NewLimiter(rate.Every(time.Second), 3)
	return func(ctx context.Context, address string) (net.Conn, error) {
		if err := pace.Wait(ctx); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialWithin)
		defer cancel()
		return dial(ctx, address)
	}
}

// checkAddress takes HOST:PORT with a host and a port from 1 to 65535.
//
// Errors: fault.AddressInvalid.
func checkAddress(address string) error {
	if !platform.IsAddress(address) {
		return fault.AddressInvalid.On("address")
	}
	return nil
}

// noting notes why handshakes fail, and the connection where one doesn't. gRPC
// tells the callers too, but in a text that may repeat what the peer sent.
type noting struct {
	credentials.TransportCredentials
	trouble *trouble
}

// ClientHandshake is the handshake itself.
func (n noting) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := n.TransportCredentials.ClientHandshake(ctx, authority, raw)
	n.trouble.set(handshakeProblem(ctx, err))
	if err != nil {
		return nil, nil, err
	}
	open := &heard{Conn: conn}
	n.trouble.conn.Store(open)
	return open, info, nil
}

// Clone keeps the notes.
func (n noting) Clone() credentials.TransportCredentials {
	return noting{n.TransportCredentials.Clone(), n.trouble}
}

func handshakeProblem(ctx context.Context, err error) string {
	if err == nil {
		return ""
	}
	if peer, ok := errors.AsType[*pki.PeerError](err); ok {
		return peer.Problem
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS"
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return "it accepts connections but does not finish the TLS handshake"
	}
	return "the TLS handshake fails"
}

func dialProblem(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "it refuses connections"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "the host of its address does not exist"
	}
	return "it can't be reached"
}
