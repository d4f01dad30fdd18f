package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/logtest"
)

// site is the gateway on a real socket before a hub.
type site struct {
	t    *testing.T
	hub  *hub
	addr string
	logs *logtest.Log
	srv  *http.Server
	ca   *tls.Certificate // after secure
}

func open(t *testing.T, change func(*Options), p patience) *site {
	t.Helper()
	s := &site{t: t, hub: &hub{}, logs: &logtest.Log{}}
	lis := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.UnaryInterceptor(s.hub.unary), grpc.MaxHeaderListSize(8<<10))
	hubv1.RegisterCatalogueServiceServer(g, s.hub)
	hubv1.RegisterVerificationServiceServer(g, s.hub)
	hubv1.RegisterLookupServiceServer(g, s.hub)
	hubv1.RegisterUnbindServiceServer(g, s.hub)
	oversightv1.RegisterCoverageServiceServer(g, s.hub)
	go func() { _ = g.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := Options{Conn: conn, Status: statusOf, Logger: logger}
	if change != nil {
		change(&o)
	}
	h, err := newHandler(t.Context(), o, p, newCodec())
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr, s.srv = tcp.Addr().String(), Server("", h, logger)
	go func() { _ = s.srv.Serve(tcp) }()
	t.Cleanup(func() {
		_ = s.srv.Close()
		_ = conn.Close()
		g.Stop()
		if strings.Contains(s.logs.String(), canary) {
			t.Errorf("the log repeats what was typed:\n%s", s.logs)
		}
	})
	return s
}

func openDefault(t *testing.T) *site { return open(t, nil, defaultPatience) }

type reply struct {
	code   int
	header http.Header
	text   string
	json   map[string]any
}

// do sends one request. head is "Key: value" lines; a body is JSON unless they
// say otherwise.
func (s *site) do(method, path, body string, head ...string) reply {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.URL.Opaque = "//" + s.addr + path // as it is, with no cleaning
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range head {
		k, v, _ := strings.Cut(line, ": ")
		switch {
		case v == "":
			req.Header.Del(k)
		case req.Header.Get(k) != "" && k != "Content-Type":
			req.Header.Add(k, v)
		default:
			req.Header.Set(k, v)
		}
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}).Do(req)
	if err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{code: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &r.json)
	for k, vs := range resp.Header {
		if strings.Contains(k+strings.Join(vs, ""), canary) {
			s.t.Errorf("header repeats what was typed: %s: %s", k, vs)
		}
	}
	if strings.Contains(r.text, canary) {
		s.t.Errorf("body repeats what was typed: %s", r.text)
	}
	return r
}

// reason is the ErrorInfo's, of our domain.
func (r reply) reason() string {
	list, _ := r.json["details"].([]any)
	for _, d := range list {
		m := d.(map[string]any)
		if m["@type"] == "type.googleapis.com/google.rpc.ErrorInfo" && m["domain"] == "tongcha" {
			return m["reason"].(string)
		}
	}
	return ""
}

// want fails unless the reply is that error, in the one shape that errors have.
func (r reply) want(t *testing.T, code int, reason fault.Reason) {
	t.Helper()
	if r.code != code || r.reason() != string(reason) {
		t.Errorf("got %d %q, want %d %q: %.300s", r.code, r.reason(), code, reason, r.text)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	if r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", r.header)
	}
	if r.header.Get("Location") != "" || r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers %v", r.header)
	}
}
