package admin_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/logtest"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain = "hub.example"
	number = "+8613912349876" // in no answer and no log
)

// desk is an operator at a socket, with a real queue and a catalogue in memory.
type desk struct {
	*testing.T
	adminv1.AdminServiceClient
	file      adminv1.CatalogueServiceClient
	queue     adminv1.QueueServiceClient
	path      string
	store     *bolt.Store
	keys      *seal.Keys
	authority *pki.Authority
	catalogue *catalogue
	orders    admin.Orders
	hub       admin.Hub
	logs      *logtest.Log
}

func newDesk(t *testing.T, change ...func(*desk)) *desk {
	t.Helper()
	d := &desk{T: t, catalogue: &catalogue{by: make(map[platform.ID]platform.Info)}, logs: new(logtest.Log)}
	dir := t.TempDir()
	d.path = filepath.Join(dir, "admin.sock")
	keyFile := filepath.Join(dir, "keys.json")
	d.must(seal.Create(keyFile))
	var err error
	d.keys, err = seal.Load(keyFile)
	d.must(err)
	d.store, err = bolt.Open(filepath.Join(dir, "hub.db"), d.keys)
	d.must(err)
	t.Cleanup(func() { d.must(d.store.Close()) })
	d.must(pki.Create(dir, domain))
	d.authority, err = pki.Load(dir)
	d.must(err)
	d.orders = d.store
	for _, f := range change {
		f(d)
	}
	d.serve()
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// serve opens the socket and connects to it.
func (d *desk) serve() {
	d.Helper()
	log := slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	unbinds := unbind.NewService(unbind.Options{Queue: d.store, Orders: d.store, DeadLetters: d.store, MAC: d.keys, Logger: log})
	pauses := unbind.NewPauses(unbind.PausesOptions{Store: d.store, Wake: unbinds.Wake, Now: time.Now, Logger: log})
	s := admin.NewServer(admin.Options{
		Unbinds: unbinds, Pauses: pauses,
		Catalogue: d.catalogue, File: d.catalogue, Orders: d.orders, Authority: d.authority, Hub: d.hub, Status: rpc.Status, Logger: log,
	})
	l, err := admin.Listen(d.path)
	d.must(err)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	conn, err := dial(d.path)
	d.must(err)
	d.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		done.Wait()
		if strings.Contains(d.logs.String(), number[3:]) {
			d.Error("the log holds a number")
		}
	})
	d.AdminServiceClient = adminv1.NewAdminServiceClient(conn)
	d.file = adminv1.NewCatalogueServiceClient(conn)
	d.queue = adminv1.NewQueueServiceClient(conn)
}

func dial(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return admin.Dial(ctx, path) }))
}

// wants checks the reason and the field of an error.
func (d *desk) wants(what string, err error, reason fault.Reason, field string) {
	d.Helper()
	var gotReason, gotField string
	for _, detail := range status.Convert(err).Details() {
		switch x := detail.(type) {
		case *errdetails.ErrorInfo:
			gotReason = x.GetReason()
		case *errdetails.BadRequest:
			gotField = x.GetFieldViolations()[0].GetField()
		}
	}
	if gotReason != string(reason) || gotField != field {
		d.Errorf("%s: %v: %q on %q, want %q on %q", what, err, gotReason, gotField, reason, field)
	}
	d.noNumber(err)
}

func (d *desk) noNumber(v any) {
	d.Helper()
	if text := fmt.Sprint(v); strings.Contains(text, number[3:]) {
		d.Errorf("a number is in %s", text)
	}
}

// order puts an order into the queue.
func (d *desk) order(at platform.ID) unbind.Order {
	d.Helper()
	n, err := phone.ParseNumber(number)
	d.must(err)
	now := time.Now()
	o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{
		Platform: at, Number: n, NumberIndex: phone.IndexOf(d.keys, n), AccountRefs: []string{"account " + number}, BoundBefore: now, HolderChecked: now,
	})
	placed, err := d.store.Enqueue(context.Background(), unbind.Enqueue{
		NumberIndex: o.NumberIndex, RequestKey: [32]byte(seal.Token(32)), Now: now, Items: []unbind.Item{{Platform: at, Order: &o}},
	})
	d.must(err)
	return placed[0].Order
}

// refuse ends an order.
func (d *desk) refuse(o unbind.Order) {
	d.Helper()
	now := time.Now()
	_, _, err := d.store.Report(context.Background(), o.Platform, o.ID,
		unbind.Reported(now, platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_BALANCE", RefusalText: "text", Time: now}, now))
	d.must(err)
}

// Entries implements admin.CatalogueFile.
func (c *catalogue) Entries() []platform.Entry {
	var out []platform.Entry
	for _, i := range c.All() {
		out = append(out, i.Entry)
	}
	return out
}

// Import implements admin.CatalogueFile: it says what it would do.
func (c *catalogue) Import(_ context.Context, rows []platform.Entry, dryRun, remove bool) ([]coverage.Change, int, error) {
	c.imports = append(c.imports, fmt.Sprint(len(rows), " ", dryRun, " ", remove))
	changes, unchanged := coverage.Compare(c.Entries(), rows, remove)
	return changes, unchanged, c.err
}

// catalogue is one in memory.
type catalogue struct {
	mu  sync.Mutex
	by  map[platform.ID]platform.Info
	err error

	imports []string
}

func (c *catalogue) Add(_ context.Context, e platform.Entry) (platform.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return platform.Info{}, c.err
	}
	if _, ok := c.by[e.ID]; ok {
		return platform.Info{}, fault.PlatformExists.On("platformId")
	}
	c.by[e.ID] = platform.Info{Entry: e, Health: platform.HealthServing, MaxBatch: 8, UnbindMode: platform.ModeSync, LastSeen: time.Now(), Products: []string{"商城"}}
	return c.by[e.ID], nil
}

func (c *catalogue) Suspend(_ context.Context, id platform.ID, reason string) (platform.Info, error) {
	return c.set(id, true, reason)
}

func (c *catalogue) Resume(_ context.Context, id platform.ID) (platform.Info, error) {
	return c.set(id, false, "")
}

func (c *catalogue) set(id platform.ID, suspended bool, reason string) (platform.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.by[id]
	switch {
	case !ok:
		return info, fault.PlatformUnknown.On("platformId")
	case info.Suspended == suspended:
		return info, fault.PlatformState.New()
	}
	info.Suspended, info.SuspendReason = suspended, reason
	c.by[id] = info
	return info, nil
}

func (c *catalogue) Known(id platform.ID) (platform.Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.by[id]
	return info, ok
}

func (c *catalogue) Load(id platform.ID) (platform.Load, bool) {
	info, ok := c.Known(id)
	return platform.Load{Breaker: "OPEN", Until: info.AddTime.Add(time.Hour), Stream: true, Open: 3, Limit: 64, P95: 21 * time.Millisecond, Counts: platform.Counts{Asked: 5, Sent: 7, Hedged: 1}}, ok && info.Address != ""
}

func (c *catalogue) All() []platform.Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []platform.Info
	for _, i := range c.by {
		out = append(out, i)
	}
	return out
}
