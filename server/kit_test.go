package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/logtest"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/verify"
)

func TestMain(m *testing.M) {
	if os.Getenv(ownProcess) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// ownProcess is set where one test runs in a process of its own, since it leaves
// goroutines behind that only the end of a process takes away.
const ownProcess = "TEST_IN_ITS_OWN_PROCESS"

// inOwnProcess runs the test that calls it in a process of its own; true in that
// process, false where the test is over by then.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownProcess) != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), ownProcess+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// within is how long anything may take before a test gives up on it.
const within = 20 * time.Second

// outbox keeps the newest code, and counts the messages that late answers are in.
type outbox struct {
	mu   sync.Mutex
	code string
	late int
}

func (o *outbox) LateAnswersIn(context.Context, phone.Number, time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.late++
	return nil
}

func (o *outbox) told() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.late
}

func (o *outbox) SendCode(_ context.Context, _ phone.Number, code verify.Code, _ time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.code = code.Reveal()
	return nil
}

func (o *outbox) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.code
}

// site is a hub's folder and configuration, and the hub that runs on it.
type site struct {
	*testing.T
	cfg    server.Config
	outbox *outbox
	logs   *logtest.Log

	hub  *server.Hub
	at   server.Addresses
	stop context.CancelFunc
	done chan struct{} // closed when Serve returned
	err  error         // what it returned
}

func newSite(t *testing.T, change ...func(*server.Config)) *site {
	s := &site{T: t, outbox: new(outbox), logs: new(logtest.Log)}
	s.cfg = goodConfig(t.TempDir())
	s.cfg.Sender, s.cfg.Notifier = s.outbox, s.outbox
	s.cfg.Logger = slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&s.cfg)
	}
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// open opens the hub without serving; it is closed with the test.
func (s *site) open() *server.Hub {
	s.Helper()
	h, err := server.Open(context.Background(), s.cfg)
	s.must(err)
	s.Cleanup(func() { _ = h.Close() })
	return h
}

// start serves.
func (s *site) start() {
	s.Helper()
	var err error
	s.hub, err = server.Open(context.Background(), s.cfg)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan server.Addresses, 1), make(chan struct{})
	hub := s.hub
	go func() {
		defer close(done)
		s.err = hub.Serve(ctx, func(a server.Addresses) { ready <- a })
	}()
	s.stop, s.done = cancel, done
	s.Cleanup(func() { cancel(); <-done })
	select {
	case s.at = <-ready:
	case <-done:
		s.Fatalf("it did not begin to serve: %v", s.err)
	case <-time.After(within):
		s.Fatal("it is not ready")
	}
}

// ended waits until Serve returned.
func (s *site) ended() {
	s.Helper()
	select {
	case <-s.done:
		s.must(s.err)
	case <-time.After(within):
		s.Fatal("it does not stop")
	}
}

func (s *site) restart() { s.Helper(); s.stop(); s.ended(); s.start() }

// get fetches a page; connections are not kept.
func get(url string) (int, string, error) { return do(http.MethodGet, url, "", nil) }

func do(method, url, token string, body any) (int, string, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, "", err
	}
	if body == nil {
		b = nil
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(b))
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

// rest calls the REST API and reads the answer into out.
func (s *site) rest(method, path, token string, body, out any) {
	s.Helper()
	code, got, err := do(method, "http://"+s.at.HTTP+path, token, body)
	if err != nil || code != http.StatusOK {
		s.Fatalf("%s %s: %d %s %v", method, path, code, got, err)
	}
	s.must(json.Unmarshal([]byte(got), out))
}

// eventually repeats a look until it is content.
func (s *site) eventually(what string, look func() bool) {
	s.Helper()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	end := time.After(within)
	for !look() {
		select {
		case <-t.C:
		case <-end:
			s.Fatalf("%s: not yet", what)
		}
	}
}

// credentials are those of a peer, by the hub's own authority.
func (s *site) credentials(role pki.Role, id string) pki.Credentials {
	s.Helper()
	ca, err := server.OpenAuthority(s.cfg.Data, s.cfg.TrustDomain)
	s.must(err)
	pair, _, err := ca.Issue(role, id, pki.IssueOptions{})
	s.must(err)
	cert, err := pair.TLS()
	s.must(err)
	return pki.Fixed(cert, ca.Roots())
}

// dial connects to the hub as a peer.
func (s *site) dial(role pki.Role, id string) *grpc.ClientConn {
	s.Helper()
	hub := pki.Identity{TrustDomain: s.cfg.TrustDomain, Role: pki.RoleHub, ID: s.cfg.ID}
	conn, err := grpc.NewClient("passthrough:///"+s.at.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientConfig(s.credentials(role, id), hub))))
	s.must(err)
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

// connector is the platform "shop". Its Describe offers one function more or
// less from call to call if it flips.
type connector struct {
	connectorv1.UnimplementedConnectorServiceServer
	address string
	flips   bool

	mu      sync.Mutex
	asked   int
	silent  bool        // to lookups
	unbinds chan string // ids of orders, which then hang
}

func (s *site) connector(flips bool) *connector {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	c := &connector{address: l.Addr().String(), flips: flips, unbinds: make(chan string, 16)}
	config := pki.ServerConfig(s.credentials(pki.RolePlatform, "shop"), s.cfg.TrustDomain)
	config.MinVersion = tls.VersionTLS13
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	connectorv1.RegisterConnectorServiceServer(g, c)
	var done sync.WaitGroup
	done.Go(func() {
		if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.Error(err)
		}
	})
	s.Cleanup(func() { g.Stop(); done.Wait() })
	return c
}

func (c *connector) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func (c *connector) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	functions := []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP, connectorv1.Function_FUNCTION_UNBIND}
	if c.flips && c.asked%2 == 0 {
		functions = functions[:1]
	}
	return &connectorv1.DescribeResponse{
		PlatformId: "shop", DisplayName: "购物", Functions: functions, UnbindMode: connectorv1.UnbindMode_UNBIND_MODE_SYNC, MaxBatch: 16, ProtocolVersion: "1.0",
	}, nil
}

func (c *connector) LookupBindings(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	c.mu.Lock()
	silent := c.silent
	c.mu.Unlock()
	if silent {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	out := new(connectorv1.LookupBindingsResponse)
	for _, s := range r.GetSubjects() {
		out.Answers = append(out.Answers, &connectorv1.SubjectAnswer{
			SubjectRef: s.GetSubjectRef(), State: connectorv1.BindingState_BINDING_STATE_BOUND, AnswerTime: timestamppb.Now(),
			Accounts: []*connectorv1.Account{{AccountRef: "ref", Product: "商城"}},
		})
	}
	return out, nil
}

func (c *connector) RequestUnbind(ctx context.Context, r *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	c.unbinds <- r.GetOrderId()
	<-ctx.Done()
	return nil, ctx.Err()
}
