package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func (s *site) metadata() (md metadata.MD, deadline bool) {
	s.hub.set(func(h *hub) { md, deadline = h.md, h.deadline })
	return md, deadline
}

func TestAddress(t *testing.T) {
	h := &handler{Options: Options{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"),
	}}}
	for _, c := range []struct {
		name, remote string
		xff          []string
		want         string
	}{
		{"direct", "203.0.113.9:1", nil, "203.0.113.9"},
		{"forged, direct", "203.0.113.9:1", []string{"1.1.1.1"}, "203.0.113.9"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"forged behind a proxy", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"two lines", "10.0.0.1:1", []string{"1.1.1.1", "203.0.113.9,10.0.0.2"}, "203.0.113.9"},
		{"all trusted", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"proxy without header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"garbage", "10.0.0.1:1", []string{"1.1.1.1, " + canary}, "10.0.0.1"},
		{"empty hop", "10.0.0.1:1", []string{"1.1.1.1,"}, "10.0.0.1"},
		{"with a port", "10.0.0.1:1", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6", "[fd00::1]:1", []string{"[2001:db8::1]:99"}, "2001:db8::1"},
		{"IPv6 bare", "[fd00::1]:1", []string{"2001:DB8::0:1"}, "2001:db8::1"},
		{"zone", "[fe80::1%eth0]:1", nil, "fe80::1"},
		{"mapped IPv4", "[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"unix socket", "@", []string{"1.1.1.1"}, ""},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.xff}}
		if got := h.address(r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	s := openDefault(t)
	s.do("GET", "/v1/consent", "", "X-Forwarded-For: 1.1.1.1", "Forwarded: for=1.1.1.1", "X-Real-IP: 1.1.1.1")
	if md, _ := s.metadata(); !slices.Equal(md.Get(addressKey), []string{"127.0.0.1"}) {
		t.Errorf("believed a stranger: %v", md)
	}
	p := open(t, func(o *Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}, defaultPatience)
	p.do("GET", "/v1/consent", "", "X-Forwarded-For: 1.1.1.1, 203.0.113.9")
	if md, _ := p.metadata(); !slices.Equal(md.Get(addressKey), []string{"203.0.113.9"}) {
		t.Errorf("the proxy's client: %v", md)
	}
}

// Two headers pass, and two keys are the gateway's own. Everything else that
// arrives is of gRPC's making.
func TestMetadata(t *testing.T) {
	s := openDefault(t)
	inject := []string{
		"Authorization: Bearer token", "Accept-Language: zh-CN",
		"Grpc-Timeout: 1n", "TE: trailers",
		"Grpc-Metadata-Authorization: Bearer other", "Grpc-Metadata-X-Tongcha-Peer: spiffe://x/carrier/a",
		"Grpc-Metadata-X-Tongcha-Address: 1.1.1.1", "Grpc-Metadata-Grpcgateway-Authorization: a",
		"Grpc-Metadata-Data-Bin: !!!", "X-Tongcha-Peer: spiffe://x/carrier/a", "X-Tongcha-Address: 1.1.1.1",
		"X-Forwarded-Host: evil", "Cookie: a=" + canary, "Origin: null", "Referer: https://x/" + canary, "X-User: " + canary,
		"User-Agent: " + canary, "From: " + canary, "Accept: text/" + canary,
	}
	s.do("GET", "/v1/consent", "", inject...)
	md, deadline := s.metadata()
	if deadline {
		t.Error("Grpc-Timeout became a deadline")
	}
	want := metadata.MD{
		"authorization": {"Bearer token"}, "accept-language": {"zh-CN"}, addressKey: {"127.0.0.1"},
	}
	for k, v := range md {
		switch k {
		case ":authority", "content-type", "user-agent", "grpc-accept-encoding":
			if strings.Contains(strings.Join(v, ""), canary) {
				t.Errorf("%s: %q came through", k, v)
			}
		default:
			if !slices.Equal(v, want[k]) {
				t.Errorf("%s: %q came through", k, v)
			}
			delete(want, k)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
	s.do("POST", "/v1/lookups", "{}", inject...)
	if md, deadline := s.metadata(); deadline || len(md.Get(peerKey)) > 0 || len(md.Get("authorization")) != 1 {
		t.Errorf("POST: %t %v", deadline, md)
	}
}

// A header that can't be taken for one thing is not taken at all, and none is
// so long that the gRPC server would refuse the call.
func TestOddAuthorization(t *testing.T) {
	s := openDefault(t)
	for name, head := range map[string][]string{
		"two":       {"Authorization: Bearer a", "Authorization: Bearer b"},
		"long":      {"Authorization: Bearer " + strings.Repeat("a", 7000)},
		"not ASCII": {"Authorization: Bearer 中" + canary},
	} {
		r := s.do("GET", "/v1/consent", "", head...)
		if md, _ := s.metadata(); r.code != 200 || len(md.Get("authorization")) > 0 {
			t.Errorf("%s: %d %v", name, r.code, md.Get("authorization"))
		}
	}
	for _, v := range []string{strings.Repeat("a", 7000), "中文"} {
		s.do("GET", "/v1/consent", "", "Accept-Language: "+v)
		if md, _ := s.metadata(); len(md.Get("accept-language")) > 0 {
			t.Errorf("Accept-Language %.10q passed", v)
		}
	}
}

// Every field, parameter, path and header holds a canary, and every answer is
// refused, failed or fine.
func TestNothingTypedComesBack(t *testing.T) {
	s := openDefault(t)
	requests := []struct{ method, path, body string }{
		{"GET", "/v1/lookups/" + canary, ""},
		{"GET", "/v1/lookups/" + canary + ":watch", ""},
		{"GET", "/v1/lookups/" + canary + "?" + canary + "=" + canary, ""},
		{"GET", "/v1/platforms?pageToken=" + canary, ""},
		{"GET", "/" + canary, ""},
		{"POST", "/v1/verifications", `{"phoneNumber":"` + canary + `","idSuffix":"` + canary + `","documentType":"` + canary +
			`","channel":"` + canary + `","consent":{"version":"` + canary + `","scopes":["` + canary + `"]}}`},
		{"POST", "/v1/verifications/" + canary + ":confirm", `{"code":"` + canary + `"}`},
		{"POST", "/v1/lookups", `{"platformIds":["` + canary + `"],"requestId":"` + canary + `"}`},
		{"POST", "/v1/unbinds", `{"lookupId":"` + canary + `","platformIds":["` + canary + `"],"requestId":"` + canary + `"}`},
		{"POST", "/v1/unbinds/" + canary + ":cancel", "{}"},
		{"POST", "/v1/unbinds/" + canary + ":appeal", "{}"},
	}
	for _, code := range []codes.Code{codes.OK, codes.InvalidArgument, codes.Internal, codes.Unavailable, codes.NotFound} {
		s.hub.set(func(h *hub) { h.err = status.Error(code, "could not do "+canary) })
		for _, q := range requests { // do and open check bodies, headers and logs
			s.do(q.method, q.path, q.body, "Authorization: Bearer "+canary, "Accept-Language: "+canary,
				"X-Forwarded-For: "+canary, "X-"+canary+": "+canary, "Cookie: "+canary)
		}
	}
}
