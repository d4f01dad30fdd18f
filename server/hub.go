package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/calendar"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/trace"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// unbindDays is when an order is due, in working days: the practice of the
// carriers' 二次号码焕新 service. No law sets a term for unbinding.
const unbindDays = 5

// Hub is one hub: its parts, wired but not yet serving.
type Hub struct {
	cfg       Config
	clock     *clock.Clock
	authority *pki.Authority
	receipts  *receipt.Signer
	creds     pki.Credentials
	store     *bolt.Store
	roster    *link.Roster
	carriers  []*link.Carrier
	catalogue *Catalogue

	counter  *coverage.Counter
	metrics  *metrics
	lookups  *lookup.Service
	unbinds  *unbind.Service
	pauses   *unbind.Pauses
	dispatch *unbind.Dispatcher
	rpc      *rpc.Server
	trace    *trace.Tracer // nil: nothing is traced

	ready atomic.Bool
	drain drain
	pulse pulse
	room  *storage
}

// OpenAuthority loads the certificate authority of a data folder, which is made
// at the first call.
func OpenAuthority(data, trustDomain string) (*pki.Authority, error) {
	if err := makeFolder(data); err != nil {
		return nil, ofDisk(data, err)
	}
	if err := pki.Create(data, trustDomain); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, ofDisk(data, fmt.Errorf("make authority: %w", err))
	}
	a, err := pki.Load(data)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	if a.TrustDomain() != trustDomain {
		return nil, fmt.Errorf("the authority in %s is of trust domain %q, not %q; give the one it was made with", data, a.TrustDomain(), trustDomain)
	}
	return a, nil
}

// Open checks the configuration and builds a hub: the database is open, but
// nothing listens and no platform is dialled. Close it, or Serve it, which closes it.
func Open(ctx context.Context, cfg Config) (*Hub, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, clock: clock.New(cfg.Clock)}
	h.counter = coverage.NewCounter(h.clock.Now)
	h.room = &storage{free: h.freeSize, need: cfg.MinFree, log: cfg.Logger}
	if err := h.open(ctx); err != nil {
		return nil, h.OfDisk(errors.Join(err, h.Close()))
	}
	return h, nil
}

func (h *Hub) open(ctx context.Context) error {
	if err := h.openTrace(); err != nil {
		return err
	}
	keys, err := h.openKeys()
	if err != nil {
		return err
	}
	if h.authority, err = OpenAuthority(h.cfg.Data, h.cfg.TrustDomain); err != nil {
		return err
	}
	if h.creds, err = h.ownCredentials(); err != nil {
		return err
	}
	if h.store, err = bolt.Open(filepath.Join(h.cfg.Data, databaseFile), keys, bolt.WithClock(h.clock), bolt.WithNotice(h.cfg.Logger.Info)); err != nil {
		return err
	}
	if h.receipts, err = h.openReceipts(); err != nil { // the database is ours alone by now
		return err
	}
	h.pulse.started = h.clock.Now()
	h.warnBehind()
	h.metrics = newMetrics(func(ctx context.Context) (map[platform.ID]coverage.Orders, error) {
		return h.store.OrderCounts(ctx, h.clock.Now())
	})
	carrier, err := h.dialCarriers()
	if err != nil {
		return err
	}
	due, err := h.dueTime()
	if err != nil {
		return err
	}
	h.wire(keys, carrier, due)
	if err := h.pauses.Load(ctx); err != nil {
		return err
	}
	h.metrics.watchLoad(h)
	h.metrics.watch(h)
	return h.catalogue.load(ctx)
}

func (h *Hub) openKeys() (*seal.Keys, error) {
	file := h.cfg.KeyFile
	if file == "" {
		file = filepath.Join(h.cfg.Data, keysFile)
		if err := makeFolder(h.cfg.Data); err != nil {
			return nil, err
		}
		if err := h.makeKeys(file); err != nil {
			return nil, err
		}
	}
	return seal.Load(file)
}

// makeKeys makes a key file for a new folder. A folder with a database but
// without keys gets none: new keys could not open it.
func (h *Hub) makeKeys(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(h.cfg.Data, databaseFile)); err == nil {
		return fmt.Errorf("%s is missing, and the database can't be read without it; put it back (a folder that serve made with --keys belongs to serve)", file)
	}
	return seal.Create(file)
}

// ownCredentials gives the hub a leaf of its own for this run.
func (h *Hub) ownCredentials() (pki.Credentials, error) {
	pair, expire, err := h.authority.Issue(pki.RoleHub, h.cfg.ID, pki.IssueOptions{Hosts: append(pki.LocalHosts(), h.cfg.Hosts...)})
	if err != nil {
		return pki.Credentials{}, fmt.Errorf("own certificate: %w", err)
	}
	cert, err := pair.TLS()
	if err != nil {
		return pki.Credentials{}, fmt.Errorf("own certificate: %w", err)
	}
	var current atomic.Pointer[tls.Certificate]
	current.Store(&cert)
	h.pulse.leaf = &current
	h.cfg.Logger.Info("hub certificate issued", "expires", expire)
	creds := pki.Fixed(cert, h.authority.Roots())
	creds.Certificate = func() (*tls.Certificate, error) { return h.renewed(&current) }
	return creds, nil
}

// renewBefore is how long before its end the hub replaces its own leaf.
const renewBefore = 30 * 24 * time.Hour

// renewed returns the leaf, replaced by a fresh one when its end is near. If that
// fails the old one is used as long as it lasts.
func (h *Hub) renewed(current *atomic.Pointer[tls.Certificate]) (*tls.Certificate, error) {
	cert := current.Load()
	if time.Until(cert.Leaf.NotAfter) > renewBefore {
		return cert, nil
	}
	pair, _, err := h.authority.Issue(pki.RoleHub, h.cfg.ID, pki.IssueOptions{Hosts: append(pki.LocalHosts(), h.cfg.Hosts...)})
	if err != nil {
		h.cfg.Logger.Error("hub certificate not renewed", "error", err)
		return cert, nil
	}
	fresh, err := pair.TLS()
	if err != nil {
		h.cfg.Logger.Error("hub certificate not renewed", "error", err)
		return cert, nil
	}
	current.Store(&fresh)
	return &fresh, nil
}

func (h *Hub) dial() link.Dial {
	return link.Dial{Credentials: h.creds, TrustDomain: h.cfg.TrustDomain, Now: h.clock.Now}
}

// dialCarriers returns nil where no carrier is configured, and says so.
func (h *Hub) dialCarriers() (platform.Carrier, error) {
	if len(h.cfg.Carriers) == 0 {
		consequence := "unbinding is refused"
		if h.cfg.AllowUnattested {
			consequence = "unbinding detaches every account that was found, as --allow-unattested-unbind permits"
		}
		h.cfg.Logger.Warn("no carrier is configured: nobody attests holders, accounts can't be told apart by holder, and " + consequence)
		return nil, nil
	}
	var all []platform.Carrier
	for _, c := range h.cfg.Carriers {
		one, err := link.DialCarrier(h.dial(), platform.ID(c.ID), c.Address)
		if err != nil {
			return nil, fmt.Errorf("carrier %s: %w", c.ID, err)
		}
		h.carriers = append(h.carriers, one)
		all = append(all, h.metrics.countCarrier(c.ID, one))
	}
	return link.Carriers(all), nil
}

// dueTime reads the calendar and warns where its data ends.
func (h *Hub) dueTime() (func(time.Time) time.Time, error) {
	cal, err := h.calendar()
	if err != nil {
		return nil, err
	}
	now := h.clock.Now()
	h.pulse.calendarEnd = calendarEnd(cal, now)
	for _, year := range []int{now.Year(), now.AddDate(0, 1, 0).Year()} {
		if !cal.Covers(year) {
			h.cfg.Logger.Warn("no holidays are known for a year that due dates reach; Monday to Friday count as working days", "year", year)
		}
	}
	return func(t time.Time) time.Time { return cal.AddWorkingDays(t, unbindDays) }, nil
}

func (h *Hub) calendar() (*calendar.Calendar, error) {
	if h.cfg.CalendarFile == "" {
		return calendar.Default()
	}
	f, err := os.Open(h.cfg.CalendarFile)
	if err != nil {
		return nil, fmt.Errorf("calendar: %w", err)
	}
	defer func() { _ = f.Close() }()
	return calendar.Parse(f)
}

// wire joins the parts. Data moves one way: rpc → verify, lookup, unbind →
// platforms; the store stands under all of them.
func (h *Hub) wire(mac phone.MAC, carrier platform.Carrier, due func(time.Time) time.Time) {
	log := h.cfg.Logger
	h.unbinds = unbind.NewService(unbind.Options{
		Queue: timedQueue{h.store, h.stepped}, Orders: h.store, DeadLetters: h.store, MAC: mac, DueTime: due, DailyLimit: h.cfg.OrdersPerDay,
		AllowUnattested: h.cfg.AllowUnattested, Logger: log, Now: h.clock.Now,
	})
	h.pauses = unbind.NewPauses(unbind.PausesOptions{Store: h.store, Wake: h.unbinds.Wake, Now: h.clock.Now, Logger: log})
	h.catalogue = &Catalogue{store: h.store, wake: h.unbinds.Wake, now: h.clock.Now, log: log}
	h.roster = link.NewRoster(link.Options{Dial: h.dial(), Logger: log, OnDescribe: h.catalogue.described, Span: h.platformSpan(),
		OnServing: func(platform.ID) { h.unbinds.Wake() }})
	h.catalogue.roster = h.roster
	h.lookups = lookup.New(lookup.Options{
		Store: timedLookups{h.store, h.stepped}, Joined: h.roster.Platforms, Catalogue: h.catalogue.Entries, MAC: mac, Limits: h.cfg.Lookup, Logger: log, Now: h.clock.Now,
		Carrier: carrier, Notifier: h.metrics.countNotifier(h.cfg.Notifier),
		Observe: func(id platform.ID, a platform.Answer) {
			h.counter.Observe(id, a)
			h.metrics.observeAnswer(id, a)
		},
		ObserveLate: func(id platform.ID, a platform.Answer) {
			h.counter.ObserveLate(id, a)
			h.metrics.observeLate(id)
		},
	})
	h.dispatch = unbind.NewDispatcher(unbind.DispatchOptions{
		Service: h.unbinds, Joined: h.roster.Platforms, Paused: h.pauses.Paused, Carrier: carrier, PerSecond: h.cfg.OrderRate, Observe: h.metrics.observeAttempt, Logger: log,
	})
	h.rpc = rpc.New(rpc.Options{
		Verify: verify.New(verify.Options{
			Store: timedCodes{h.store, h.stepped}, Sender: h.metrics.countSender(h.cfg.Sender), Carrier: carrier, MAC: mac, Limits: h.cfg.Verify, Floor: h.cfg.ConfirmFloor, Logger: log, Now: h.clock.Now,
		}),
		Lookup: h.lookups, Unbind: h.unbinds, Catalogue: h.catalogue, Carrier: carrier, IsMember: h.catalogue.IsMember,
		Coverage: func(ctx context.Context, q coverage.Query) (coverage.Report, error) {
			return coverage.Read(ctx, h.store, h.counter, h.catalogue.Entries(), q)
		},
		OpenCoverage: h.cfg.OpenCoverage, ChecksPerSecond: checksPerSecond, Observe: h.metrics.observeRPC, Logger: log, Now: h.clock.Now,
		MaxLookups: h.cfg.MaxLookups, StorageFull: h.room.full, Span: h.callSpan(), Receipts: h.receipts,
		Issuer: pki.Identity{TrustDomain: h.cfg.TrustDomain, Role: pki.RoleHub, ID: h.cfg.ID}.String(),
	})
}

// checksPerSecond bounds a platform's questions about changes of hands.
const checksPerSecond = 50

// Catalogue is the hub's catalogue, for entries that are made before it serves.
func (h *Hub) Catalogue() *Catalogue { return h.catalogue }

// adminOptions is what the operator's socket may use.
func (h *Hub) adminOptions() admin.Options {
	return admin.Options{
		Catalogue: h.catalogue, File: h.catalogue, Coverage: h.rpc.Oversight(), Orders: h.store, Unbinds: h.unbinds, Pauses: h.pauses, Flow: h.dispatch.Flow, Authority: h.authority, Hub: h, Store: database{h.store}, Status: rpc.Status, Logger: h.cfg.Logger, Now: h.clock.Now,
	}
}

// readiness is nil while the hub takes requests and is not being drained.
func (h *Hub) readiness() error {
	if draining, _ := h.draining(); draining || !h.ready.Load() {
		return fault.ShuttingDown.New()
	}
	return nil
}

// Close ends everything that Open started. Serve calls it.
func (h *Hub) Close() error {
	if h.roster != nil {
		h.roster.Close()
	}
	for _, c := range h.carriers {
		_ = c.Close() // fails only where closed before
	}
	h.closeTrace()
	if h.store == nil {
		return nil
	}
	return h.store.Close()
}
