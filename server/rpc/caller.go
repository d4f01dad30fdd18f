package rpc

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/verify"
)

// The metadata by which the gateway says who is behind it. They are believed on
// the gateway's own connection alone.
const (
	metaPeer    = "x-tongcha-peer"
	metaAddress = "x-tongcha-address"
	metaTrace   = "traceparent" // of anybody; the gateway's is a span of ours
)

// caller is who makes a call.
type caller struct {
	fromGateway bool
	identity    pki.Identity // zero where no certificate was shown
	address     string       // of the client behind the gateway
	session     verify.Session
	trace       string // W3C traceparent of the call's span; "" where nothing is traced

	// What is to be done when the call ends; nil for nothing.
	end   func(code string) // of the span
	leave func()            // gives back the place that admission gave
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is the caller of a call that passed the interceptors.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// sessionOf is the session of a call whose method needs one.
func sessionOf(ctx context.Context) verify.Session { return callerOf(ctx).session }

// platformOf is the platform of a call whose method is for platforms.
func platformOf(ctx context.Context) platform.ID { return platform.ID(callerOf(ctx).identity.ID) }

// identify says who is at the other end of the connection.
func (s *Server) identify(ctx context.Context, inner bool) (caller, error) {
	if inner {
		return fromGateway(ctx), nil
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, fault.RoleDenied.New()
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return caller{}, fault.RoleDenied.New()
	}
	return fromTLS(info.State)
}

func fromTLS(state tls.ConnectionState) (caller, error) {
	if len(state.VerifiedChains) == 0 && len(state.PeerCertificates) == 0 {
		return caller{}, fault.RoleDenied.New()
	}
	id, err := pki.ParseIdentity(state.PeerCertificates[0]) // the handshake verified its chain
	if err != nil {
		return caller{}, fault.RoleDenied.Wrap(err)
	}
	return caller{identity: id}, nil
}

func fromGateway(ctx context.Context) caller {
	md, _ := metadata.FromIncomingContext(ctx)
	c := caller{fromGateway: true, address: network(first(md, metaAddress))}
	if uri := first(md, metaPeer); uri != "" {
		if id, err := pki.ParseIdentityURI(uri); err == nil {
			c.identity = id
		}
	}
	return c
}

// trace begins the call's span. Health checks and reflection have none: balancers
// make many of them, and they lead nowhere.
func (s *Server) trace(ctx context.Context, method string, inner bool, c *caller) {
	need, known := methods[method]
	if s.o.Span == nil || need == anyPeer {
		return
	}
	if !known {
		method = "unknown" // the caller chose it
	}
	md, _ := metadata.FromIncomingContext(ctx)
	c.trace, c.end = s.o.Span(first(md, metaTrace), method, inner)
}

// network is what counts as one address for limits: one for IPv4, a /64 for
// IPv6, of which any subscriber has a whole one.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}

func first(md metadata.MD, k string) string {
	if v := md.Get(k); len(v) > 0 {
		return v[0]
	}
	return ""
}

// language is the one a text is given in where there is room for one only:
// English where the client prefers it, else Chinese.
func language(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if strings.HasPrefix(strings.ToLower(first(md, "accept-language")), "en") {
		return "en"
	}
	return "zh-CN"
}

// bearer is the token of the Authorization header, "" for none or another
// scheme.
func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	scheme, token, ok := strings.Cut(first(md, "authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return token
}
