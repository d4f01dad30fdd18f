package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/logtest"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

const domain = "hub.example"

// settings are what a story changes of the world before it begins.
type settings struct {
	verify          verify.Limits
	lookup          lookup.Limits
	ordersPerDay    int
	allowUnattested bool
	openCoverage    bool
	noCarrier       bool
	checksPerSecond float64
	maxLookups      int
	span            func(traceparent, method string, fromGateway bool) (string, func(string))
	more            []platform.ID // further joined platforms that take orders
}

// world is the gRPC surface in a bubble: real services on a real store; the
// sender, the platforms and the carrier are not real.
type world struct {
	*testing.T
	settings

	store    *bolt.Store
	keys     *seal.Keys
	ca       *pki.Authority
	receipts *receipt.Signer
	logs     *logtest.Log
	outbox   *outbox
	carrier  *carrier
	peers    map[platform.ID]*peer
	lookups  *lookup.Service
	unbinds  *unbind.Service
	server   *rpc.Server
	coverage func(context.Context, coverage.Query) (coverage.Report, error)
	counter  *coverage.Counter
	isMember func(id string) bool
	observed func(method, code string)

	inner, outer *grpc.Server
	tls          *bufconn.Listener
	gateway      *grpc.ClientConn // what the gateway calls, over a connection
	local        *rpc.Local       // what it calls

	mu      sync.Mutex
	secrets []string // what must be in no error and no log
}

// inWorld runs a story in a fresh world and checks afterwards that no secret was
// logged.
func inWorld(t *testing.T, change func(*settings), story func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change)
		story(w)
		w.noSecrets("the log", w.logs.String())
	})
}

func newWorld(t *testing.T, change func(*settings)) *world {
	w := &world{
		T: t, logs: new(logtest.Log), outbox: new(outbox), carrier: newCarrier(), peers: make(map[platform.ID]*peer),
		settings: settings{verify: verify.DefaultLimits(), lookup: lookup.DefaultLimits(), ordersPerDay: 20, checksPerSecond: 50},
	}
	if change != nil {
		change(&w.settings)
	}
	for _, id := range append([]platform.ID{"bank", "chat", "shop"}, w.more...) {
		w.peers[id] = newPeer(id)
	}
	w.peers["bank"].functions = platform.FunctionLookup
	w.openStore()
	w.build()
	w.serve()
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) openStore() {
	dir := w.TempDir()
	keyFile := filepath.Join(dir, "keys.json")
	w.must(seal.Create(keyFile))
	var err error
	w.keys, err = seal.Load(keyFile)
	w.must(err)
	w.store, err = bolt.Open(filepath.Join(dir, "hub.db"), w.keys)
	w.must(err)
	w.Cleanup(func() { _ = w.store.Close() })
	w.must(receipt.Create(dir))
	w.receipts, err = receipt.Load(dir)
	w.must(err)
	w.must(pki.Create(dir, domain))
	w.ca, err = pki.Load(dir)
	w.must(err)
}

func (w *world) build() {
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var attester platform.Carrier = w.carrier
	if w.noCarrier {
		attester = nil
	}
	w.lookups = lookup.New(lookup.Options{
		Store: w.store, Joined: w.Joined, Catalogue: w.Entries, MAC: w.keys, Limits: w.lookup, Logger: log,
	})
	w.unbinds = unbind.NewService(unbind.Options{
		Queue: w.store, Orders: w.store, MAC: w.keys, DailyLimit: w.ordersPerDay, AllowUnattested: w.allowUnattested, Logger: log,
		DueTime: func(t time.Time) time.Time { return t.Add(120 * time.Hour) },
	})
	w.counter = coverage.NewCounter(nil)
	w.coverage = func(ctx context.Context, q coverage.Query) (coverage.Report, error) {
		return coverage.Read(ctx, w.store, w.counter, w.Entries(), q)
	}
	w.isMember = func(id string) bool { return w.peers[platform.ID(id)] != nil }
	w.server = rpc.New(w.options(log, attester))
}

// serve opens the gateway's ways in and the door for certificates.
func (w *world) serve() {
	w.inner, w.outer = w.server.Inner(), w.server.Outer(grpc.Creds(credentials.NewTLS(pki.ServerConfig(w.issue(pki.RoleHub, "main"), domain))))
	pipe := w.listen(w.inner)
	w.tls = w.listen(w.outer)
	w.gateway = w.dial(pipe, insecure.NewCredentials())
	w.local = w.server.Local()
	w.Cleanup(func() { w.local.Stop(context.Background()) })
	w.Cleanup(func() { w.lookups.Close(context.Background()) })
}

func (w *world) listen(s *grpc.Server) *bufconn.Listener {
	l := bufconn.Listen(64 << 10)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	w.Cleanup(func() { s.Stop(); done.Wait() })
	return l
}

func (w *world) dial(l *bufconn.Listener, creds credentials.TransportCredentials) *grpc.ClientConn {
	c, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	w.must(err)
	w.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) issue(role pki.Role, id string) pki.Credentials { return w.issueBy(w.ca, role, id) }

func (w *world) issueBy(ca *pki.Authority, role pki.Role, id string) pki.Credentials {
	w.Helper()
	pair, _, err := ca.Issue(role, id, pki.IssueOptions{})
	w.must(err)
	cert, err := pair.TLS()
	w.must(err)
	return pki.Fixed(cert, w.ca.Roots())
}

var hub = pki.Identity{TrustDomain: domain, Role: pki.RoleHub, ID: "main"}

// as connects with a certificate.
func (w *world) as(role pki.Role, id string) *grpc.ClientConn {
	w.Helper()
	return w.dialTLS(pki.ClientConfig(w.issue(role, id), hub))
}

func (w *world) dialTLS(c *tls.Config) *grpc.ClientConn {
	return w.dial(w.tls, credentials.NewTLS(c))
}

// Entries is the catalogue: the peers and "idle", which has not joined.
func (w *world) Entries() []platform.Entry {
	out := []platform.Entry{{ID: "idle", DisplayName: "未接入", Category: "网上购物", SelfServiceURL: "https://idle.example/"}}
	for _, p := range w.peers {
		out = append(out, p.Info().Entry)
	}
	slices.SortFunc(out, func(a, b platform.Entry) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// Joined are the peers that are asked.
func (w *world) Joined() []platform.Platform {
	var out []platform.Platform
	for _, e := range w.Entries() {
		if e.Joined() {
			out = append(out, w.peers[e.ID])
		}
	}
	return out
}

// Info is what is known of a peer.
func (w *world) Info(id platform.ID) (platform.Info, bool) {
	p, ok := w.peers[id]
	if !ok {
		return platform.Info{}, false
	}
	return p.Info(), true
}

// Functions is what a peer offers.
func (w *world) Functions(id platform.ID) platform.Functions {
	info, _ := w.Info(id)
	return info.Functions
}

// secret notes what must not be seen.
func (w *world) secret(s ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, s...)
}

func (w *world) noSecrets(where, text string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.secrets {
		if s != "" && strings.Contains(text, s) {
			w.Errorf("%s holds a secret: %q", where, text)
		}
	}
}

var errDown = errors.New("it is down")
