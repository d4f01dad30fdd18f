package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/metadata"
)

// The reserved metadata keys. rpc believes them on this connection alone, and
// no request can bring them: see inner.
const (
	addressKey = "x-tongcha-address"
	peerKey    = "x-tongcha-peer"
	traceKey   = "traceparent"
)

// Longer values are dropped, so that the gRPC server's own header limit, an
// internal error, is never met. A token has under 64 characters.
const (
	maxAuthorization = 1024
	maxLanguage      = 256
	maxPeer          = 512
)

// call is what the gateway knows of a request while it is answered.
type call struct {
	label, method string
	address, peer string
	trace         string    // of the request's span; "" where nothing is traced
	end           func(int) // ends the span; nil where nothing is traced
}

type callKey struct{}

// callOf never returns nil.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{label: "unknown"}
}

// inner is the request that grpc-gateway sees. Its headers are a list of what
// passes, not of what doesn't: Grpc-Timeout, Grpc-Metadata-*, X-Tongcha-*, TE
// and method overrides end here with everything else. Without host and address
// grpc-gateway makes no x-forwarded-* metadata.
func inner(r *http.Request, b *body) *http.Request {
	in := r.WithContext(r.Context())
	in.Header = http.Header{}
	pass(in.Header, r.Header, "Authorization", maxAuthorization)
	pass(in.Header, r.Header, "Accept-Language", maxLanguage)
	in.Host, in.RemoteAddr = "", ""
	in.Body, in.ContentLength = b, int64(len(b.data))
	return in
}

// pass copies a header that came exactly once, since of two nobody could tell
// which one counts, and that gRPC can carry: printable ASCII.
func pass(dst, src http.Header, key string, limit int) {
	v := src.Values(key)
	if len(v) != 1 || len(v[0]) > limit {
		return
	}
	for _, c := range []byte(v[0]) {
		if c < ' ' || c > '~' {
			return
		}
	}
	dst.Set(key, v[0])
}

// incoming names the headers that become metadata; grpc-gateway passes
// Authorization by itself.
func incoming(key string) (string, bool) {
	return "accept-language", key == "Accept-Language"
}

// nothing keeps the server's metadata inside.
func nothing(string) (string, bool) { return "", false }

// reserved sets the metadata that only the gateway can know.
func reserved(ctx context.Context, _ *http.Request) metadata.MD {
	c, md := callOf(ctx), metadata.MD{}
	if c.address != "" {
		md.Set(addressKey, c.address)
	}
	if c.peer != "" {
		md.Set(peerKey, c.peer)
	}
	if c.trace != "" {
		md.Set(traceKey, c.trace)
	}
	return md
}

// trace begins the request's span. Of two traceparents nobody could tell which
// one counts; a tracestate is for systems that know its vendors, and ends here.
func (h *handler) trace(r *http.Request, c *call) {
	if h.Span == nil {
		return
	}
	parent := ""
	if v := r.Header.Values("Traceparent"); len(v) == 1 {
		parent = v[0]
	}
	c.trace, c.end = h.Span(parent, c.label)
}

// address is the client's IP address: the peer's, or, behind trusted proxies,
// the first from the right in X-Forwarded-For that is none of them. What stands
// left of that one the client wrote itself. It is "" on a transport without IP.
func (h *handler) address(r *http.Request) string {
	at, ok := parseIP(r.RemoteAddr)
	if !ok {
		return ""
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && h.trusted(at); i-- {
		next, ok := parseIP(strings.TrimSpace(hops[i]))
		if !ok {
			break // the proxy passed on something odd: it stands for its client
		}
		at = next
	}
	return at.String()
}

func (h *handler) trusted(a netip.Addr) bool {
	for _, p := range h.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseIP reads an address with or without a port, IPv4 in one form only.
func parseIP(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

// peer is the URI SAN of a verified client certificate. A certificate with more
// than one says nothing that can be relied on.
func peer(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return ""
	}
	uris := r.TLS.VerifiedChains[0][0].URIs
	if len(uris) != 1 {
		return ""
	}
	if s := uris[0].String(); len(s) <= maxPeer {
		return s
	}
	return ""
}
