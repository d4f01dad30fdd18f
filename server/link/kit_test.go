package link_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/logtest"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	domain = "hub.example"
	shopAt = "shop.example:9443"
	number = "+8613800138000"
)

// world is an authority and an in-memory network.
type world struct {
	t    *testing.T
	ca   *pki.Authority
	logs *logtest.Log

	mu    sync.Mutex
	nodes map[string]*bufconn.Listener
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, ca: newCA(t), logs: &logtest.Log{}, nodes: make(map[string]*bufconn.Listener)}
}

func newCA(t *testing.T) *pki.Authority {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Create(dir, domain); err != nil {
		t.Fatal(err)
	}
	ca, err := pki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.Authority, role pki.Role, id string, life time.Duration) pki.Credentials {
	t.Helper()
	pair, _, err := ca.Issue(role, id, pki.IssueOptions{Lifetime: life})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return pki.Fixed(cert, ca.Roots())
}

func (w *world) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	l := w.nodes[address]
	w.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return l.DialContext(ctx)
}

func (w *world) dialOptions() link.Dial {
	return link.Dial{Credentials: issue(w.t, w.ca, pki.RoleHub, "main", 0), TrustDomain: domain, Dialer: w.dial}
}

func (w *world) options() link.Options {
	return link.Options{Dial: w.dialOptions(), MaxInFlight: 4, Logger: slog.New(slog.NewTextHandler(w.logs, nil))}
}

// listen opens an address; the listener is closed with the test.
func (w *world) listen(address string) *bufconn.Listener {
	l := bufconn.Listen(1 << 20)
	w.mu.Lock()
	w.nodes[address] = l
	w.mu.Unlock()
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

// serve runs a gRPC server at an address. The returned function stops it.
func (w *world) serve(address string, config *tls.Config, register func(*grpc.Server), more ...grpc.ServerOption) (stop func()) {
	l := w.listen(address)
	s := grpc.NewServer(append(more, grpc.Creds(credentials.NewTLS(config)))...)
	register(s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	stop = func() {
		w.mu.Lock()
		if w.nodes[address] == l {
			delete(w.nodes, address)
		}
		w.mu.Unlock()
		s.Stop()
		wg.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// connector serves c as the platform "shop" at shopAt.
func (w *world) connector(c connectorv1.ConnectorServiceServer, more ...grpc.ServerOption) (stop func()) {
	return w.serve(shopAt, pki.ServerConfig(issue(w.t, w.ca, pki.RolePlatform, "shop", 0), domain), func(s *grpc.Server) {
		connectorv1.RegisterConnectorServiceServer(s, c)
	}, more...)
}

// shop joins the platform "shop" and waits until it was probed once.
func (w *world) shop(change ...func(*link.Options)) (*link.Roster, platform.Platform) {
	w.t.Helper()
	opts := w.options()
	for _, f := range change {
		f(&opts)
	}
	r := link.NewRoster(opts)
	w.t.Cleanup(r.Close)
	if err := r.Join(platform.Entry{ID: "shop", Address: shopAt}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	p, ok := r.Get("shop")
	if !ok {
		w.t.Fatal("shop has not joined")
	}
	return r, p
}

// connector is a platform's side whose behaviour a test sets.
type connector struct {
	connectorv1.UnimplementedConnectorServiceServer
	describe func() (*connectorv1.DescribeResponse, error)
	lookup   func(context.Context, *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error)
	unbind   func(*connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error)
	status   func(*connectorv1.GetUnbindRequest) (*connectorv1.GetUnbindResponse, error)
}

func description() *connectorv1.DescribeResponse {
	return &connectorv1.DescribeResponse{
		PlatformId:      "shop",
		DisplayName:     "购物",
		Functions:       []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP, connectorv1.Function_FUNCTION_UNBIND},
		UnbindMode:      connectorv1.UnbindMode_UNBIND_MODE_SYNC,
		MaxBatch:        16,
		ProtocolVersion: "1.0",
	}
}

func (c *connector) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	if c.describe == nil {
		return description(), nil
	}
	return c.describe()
}

func (c *connector) LookupBindings(ctx context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	if c.lookup == nil {
		return answers(r, bound), nil
	}
	return c.lookup(ctx, r)
}

func (c *connector) RequestUnbind(_ context.Context, r *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	return c.unbind(r)
}

func (c *connector) GetUnbind(_ context.Context, r *connectorv1.GetUnbindRequest) (*connectorv1.GetUnbindResponse, error) {
	return c.status(r)
}

// answers answers every subject with f.
func answers(r *connectorv1.LookupBindingsRequest, f func(*connectorv1.Subject) *connectorv1.SubjectAnswer) *connectorv1.LookupBindingsResponse {
	out := &connectorv1.LookupBindingsResponse{}
	for _, s := range r.GetSubjects() {
		out.Answers = append(out.Answers, f(s))
	}
	return out
}

func bound(s *connectorv1.Subject) *connectorv1.SubjectAnswer {
	return &connectorv1.SubjectAnswer{
		SubjectRef: s.GetSubjectRef(),
		State:      connectorv1.BindingState_BINDING_STATE_BOUND,
		AnswerTime: timestamppb.Now(),
		Accounts: []*connectorv1.Account{
			{AccountRef: "ref 1", Product: "商城", Period: connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER},
		},
	}
}

// several are n accounts with references of their own.
func several(n int) []*connectorv1.Account {
	out := make([]*connectorv1.Account, n)
	for i := range out {
		out[i] = &connectorv1.Account{AccountRef: fmt.Sprint("ref ", i), Product: "商城", Period: connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER}
	}
	return out
}

func mobile(t *testing.T) phone.Number {
	t.Helper()
	n, err := phone.ParseNumber(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// question is a call whose answer can be waited for.
type question struct {
	platform.Call
	done chan struct{}
}

func ask(t *testing.T, p platform.Platform, within time.Duration) *question {
	t.Helper()
	q := newQuestion(t, within)
	p.Ask(&q.Call)
	return q
}

// fill asks n questions so that each goes alone.
func fill(t *testing.T, p platform.Platform, n int, within time.Duration) []*question {
	t.Helper()
	var out []*question
	for range n {
		out = append(out, ask(t, p, within))
		synctest.Wait()
	}
	return out
}

func newQuestion(t *testing.T, within time.Duration) *question {
	t.Helper()
	q := &question{done: make(chan struct{})}
	q.Number, q.HolderSince, q.Deadline = mobile(t), time.Now().Add(-time.Hour), time.Now().Add(within)
	q.Done = func(*platform.Call) { close(q.done) } // panics where called twice
	return q
}

func (q *question) wait() platform.Answer {
	<-q.done
	return q.Answer()
}
