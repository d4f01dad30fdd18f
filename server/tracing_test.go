package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

// keeper keeps spans beyond the shutdown, at which tracetest's own forgets them.
type keeper struct {
	tracetest.InMemoryExporter
	last tracetest.SpanStubs
}

func (k *keeper) Shutdown(ctx context.Context) error {
	k.last = k.GetSpans()
	return k.InMemoryExporter.Shutdown(ctx)
}

// told is a platform that keeps the traceparents it is told.
type told struct {
	connectorv1.UnimplementedConnectorServiceServer
	id, address string

	mu              sync.Mutex
	lookups, unbind []string
	done            chan struct{} // closed at the first order
}

// told starts a platform, which as changes.
func (s *site) told(id string, as ...func(*told) connectorv1.ConnectorServiceServer) *told {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	c := &told{id: id, address: l.Addr().String(), done: make(chan struct{})}
	config := pki.ServerConfig(s.credentials(pki.RolePlatform, id), s.cfg.TrustDomain)
	config.MinVersion = tls.VersionTLS13
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	var service connectorv1.ConnectorServiceServer = c
	for _, change := range as {
		service = change(c)
	}
	connectorv1.RegisterConnectorServiceServer(g, service)
	var served sync.WaitGroup
	served.Go(func() { _ = g.Serve(l) })
	s.Cleanup(func() { g.Stop(); served.Wait() })
	return c
}

func (c *told) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	return &connectorv1.DescribeResponse{
		PlatformId: c.id, DisplayName: "购物", UnbindMode: connectorv1.UnbindMode_UNBIND_MODE_SYNC, MaxBatch: 16, ProtocolVersion: "1.0",
		Functions: []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP, connectorv1.Function_FUNCTION_UNBIND},
	}, nil
}

func (c *told) LookupBindings(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := new(connectorv1.LookupBindingsResponse)
	for _, s := range r.GetSubjects() {
		c.lookups = append(c.lookups, s.GetTraceparent())
		out.Answers = append(out.Answers, &connectorv1.SubjectAnswer{
			SubjectRef: s.GetSubjectRef(), State: connectorv1.BindingState_BINDING_STATE_BOUND, AnswerTime: timestamppb.Now(),
			Accounts: []*connectorv1.Account{{AccountRef: "canary-ref", Product: "canary-product"}},
		})
	}
	return out, nil
}

func (c *told) RequestUnbind(ctx context.Context, _ *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	if c.unbind = append(c.unbind, strings.Join(md.Get("traceparent"), ",")); len(c.unbind) == 1 {
		close(c.done)
	}
	return &connectorv1.RequestUnbindResponse{Result: &connectorv1.UnbindResult{State: connectorv1.UnbindState_UNBIND_STATE_COMPLETED, StateTime: timestamppb.Now()}}, nil
}

// A person's whole way leaves one trace for each request, whose last spans are
// the platforms', and nothing that was typed in any of them.
func TestTraces(t *testing.T) {
	spans := new(keeper)
	s := newSite(t, func(c *server.Config) { c.AllowUnattested, c.Trace.Exporter = true, spans })
	shop, bank := s.told("shop"), s.told("bank")
	s.start()
	s.join(shop.address)
	_, err := s.hub.Catalogue().Add(t.Context(), platform.Entry{ID: "bank", DisplayName: "银行", Category: "手机银行", Address: bank.address, AddTime: time.Now()})
	s.must(err)
	order := s.order()
	select {
	case <-shop.done:
	case <-time.After(within):
		t.Fatal("the order is not sent")
	}
	code := s.outbox.last()
	var v struct{ VerificationID string }
	s.traced("POST", "/v1/verifications", "", map[string]any{
		"phoneNumber": "13912349877", "idSuffix": suffix, "consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP"}},
	}, &v)
	var session struct{ SessionToken string }
	s.traced("POST", "/v1/verifications/"+v.VerificationID+":confirm", "", map[string]string{"code": s.outbox.last()}, &session)
	var l struct{ LookupID string }
	s.traced("POST", "/v1/lookups", session.SessionToken, map[string]string{"requestId": "canary-request"}, &l)
	s.traced("GET", "/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=1000", session.SessionToken, nil, &struct{}{})
	s.stop()
	s.ended()

	s.checkTree(spans.last, shop, bank)
	typed := []string{
		number, number[3:], "13912349877", "2349877", suffix, code, s.outbox.last(), session.SessionToken, v.VerificationID, l.LookupID, order,
		"canary", "购物", "银行", "r1",
	}
	for _, text := range texts(spans.last) {
		for _, secret := range typed {
			if strings.Contains(text, secret) {
				t.Errorf("%q holds %q", text, secret)
			}
		}
	}
}

const clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// traced is rest with the trace of a client, and with what shouldn't pass.
func (s *site) traced(method, path, token string, body, out any) {
	s.Helper()
	b, err := json.Marshal(body)
	s.must(err)
	req, err := http.NewRequest(method, "http://"+s.at.HTTP+path, strings.NewReader(string(b)))
	s.must(err)
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Close = true
	for k, v := range map[string]string{
		"Content-Type": "application/json", "Authorization": "Bearer " + token, "Traceparent": "00-" + clientTrace + "-00f067aa0ba902b7-00",
		"Tracestate": "canary=canary", "Baggage": "canary=canary", "User-Agent": "canary",
	} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		s.Fatalf("%s %s: %d", method, path, resp.StatusCode)
	}
	s.must(json.NewDecoder(resp.Body).Decode(out))
}

// checkTree follows every span up to its request and every traceparent that a
// platform was told down to its span.
func (s *site) checkTree(spans tracetest.SpanStubs, platforms ...*told) {
	s.Helper()
	by := make(map[string]tracetest.SpanStub)
	names := make(map[string]int)
	for _, span := range spans {
		by[span.SpanContext.SpanID().String()] = span
		names[span.Name]++
	}
	for name, n := range map[string]int{
		"POST /v1/verifications": 2, "POST /v1/verifications/{verificationId}:confirm": 2, "POST /v1/lookups": 2, "GET /v1/lookups/{lookupId}": 2,
		"POST /v1/unbinds": 1, "tongcha.hub.v1.LookupService/CreateLookup": 2, "tongcha.hub.v1.UnbindService/CreateUnbinds": 1,
		"platform lookup": 4, "unbind attempt": 1,
	} {
		if names[name] != n {
			s.Errorf("%d spans of %s, want %d", names[name], name, n)
		}
	}
	for _, p := range platforms {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.lookups) != 2 {
			s.Fatalf("%s was asked %d times", p.id, len(p.lookups))
		}
		for i, traceparent := range p.lookups {
			span := by[strings.Split(traceparent, "-")[2]]
			call := by[span.Parent.SpanID().String()]
			request := by[call.Parent.SpanID().String()]
			if span.Name != "platform lookup" || call.Name != "tongcha.hub.v1.LookupService/CreateLookup" || request.Name != "POST /v1/lookups" {
				s.Errorf("%s was told %s: %s below %s below %s", p.id, traceparent, span.Name, call.Name, request.Name)
			}
			if strings.Contains(traceparent, clientTrace) != (i == 1) || span.SpanContext.TraceID() != request.SpanContext.TraceID() {
				s.Errorf("%s was told %s", p.id, traceparent)
			}
			if !hasAttribute(span, "tongcha.platform", p.id) || !hasAttribute(span, "tongcha.outcome", "answered") {
				s.Errorf("%v", span.Attributes)
			}
		}
	}
	attempt := by[strings.Split(platforms[0].unbind[0], "-")[2]]
	if attempt.Name != "unbind attempt" || attempt.Parent.IsValid() || !hasAttribute(attempt, "tongcha.platform", "shop") {
		s.Errorf("the order came with %s: %+v", platforms[0].unbind[0], attempt)
	}
}

func hasAttribute(span tracetest.SpanStub, key, value string) bool {
	for _, a := range span.Attributes {
		if string(a.Key) == key && a.Value.AsString() == value {
			return true
		}
	}
	return false
}

// texts is every text of the spans. Their ids are no text: digits in one mean
// nothing.
func texts(spans tracetest.SpanStubs) []string {
	var out []string
	add := func(all []attribute.KeyValue) {
		for _, a := range all {
			out = append(out, string(a.Key), a.Value.String())
		}
	}
	for _, s := range spans {
		out = append(out, s.Name, s.Status.Description, s.SpanContext.TraceState().String(), s.Parent.TraceState().String(), s.InstrumentationScope.Name)
		add(s.Attributes)
		add(s.Resource.Attributes())
		for _, e := range s.Events {
			out = append(out, e.Name)
			add(e.Attributes)
		}
		for _, l := range s.Links {
			add(l.Attributes)
		}
	}
	return out
}
