package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// catalogueStore keeps the entries.
type catalogueStore interface {
	PutPlatform(context.Context, platform.Entry) error
	// ChangePlatforms puts and removes several, all or none of them.
	ChangePlatforms(ctx context.Context, put []platform.Entry, remove []platform.ID) error
	Platforms(context.Context) ([]platform.Entry, error)
}

// Catalogue is every platform that is obliged to join or has joined. A change is
// on disk before the roster follows, so that a crash in between is made good by
// the next start. It is safe for concurrent use; reads never block.
type Catalogue struct {
	store  catalogueStore
	roster *link.Roster
	wake   func()           // an order may have become sendable
	now    func() time.Time // the hub's clock
	log    *slog.Logger

	changes sync.Mutex // held over a whole change, so that the roster follows in order
	dialled bool       // the roster follows; guarded by changes
	mu      sync.Mutex // held while the store and entries change, never while the roster does
	entries atomic.Pointer[[]platform.Entry]
}

// load reads the entries. Nobody is dialled before connect.
func (c *Catalogue) load(ctx context.Context) error {
	entries, err := c.store.Platforms(ctx)
	if err != nil {
		return fmt.Errorf("read catalogue: %w", err)
	}
	c.entries.Store(&entries)
	return nil
}

// connect joins every entry with an address; from then on the roster follows
// each change.
func (c *Catalogue) connect() error {
	c.changes.Lock()
	defer c.changes.Unlock()
	c.dialled = true
	for _, e := range c.Entries() {
		if e.Address == "" {
			continue
		}
		if err := c.roster.Join(e); err != nil {
			return fmt.Errorf("join %s: %w", e.ID, err)
		}
	}
	return nil
}

// Entries returns every catalogued platform, ordered by id. It must not be
// changed.
func (c *Catalogue) Entries() []platform.Entry { return *c.entries.Load() }

func (c *Catalogue) entry(id platform.ID) (platform.Entry, bool) {
	entries := c.Entries()
	i, ok := slices.BinarySearchFunc(entries, id, func(e platform.Entry, id platform.ID) int { return cmp.Compare(e.ID, id) })
	if !ok {
		return platform.Entry{}, false
	}
	return entries[i], true
}

// Info returns what is known of a platform that has joined, also a suspended one.
func (c *Catalogue) Info(id platform.ID) (platform.Info, bool) {
	p, ok := c.roster.Get(id)
	if !ok {
		return platform.Info{}, false
	}
	return p.Info(), true
}

// Load says how busy a platform is; false for one that hasn't joined.
func (c *Catalogue) Load(id platform.ID) (platform.Load, bool) { return c.roster.Load(id) }

// Functions is what the platform offers; none unless it has joined. A suspended
// platform still takes orders: they wait until it is resumed.
func (c *Catalogue) Functions(id platform.ID) platform.Functions {
	info, _ := c.Info(id)
	return info.Functions
}

// IsMember reports whether a platform's certificate is good for calls: it has
// joined. A suspended platform may still report on its orders.
func (c *Catalogue) IsMember(id string) bool {
	e, ok := c.entry(platform.ID(id))
	return ok && e.Address != ""
}

// Known returns what is known of a catalogued platform.
func (c *Catalogue) Known(id platform.ID) (platform.Info, bool) {
	e, ok := c.entry(id)
	if !ok {
		return platform.Info{}, false
	}
	if info, ok := c.Info(id); ok {
		return info, true
	}
	return platform.Info{Entry: e, Health: platform.HealthUnknown, Problem: "not joined"}, true
}

// All returns every catalogued platform, ordered by id.
func (c *Catalogue) All() []platform.Info {
	var out []platform.Info
	for _, e := range c.Entries() {
		if info, ok := c.Known(e.ID); ok {
			out = append(out, info)
		}
	}
	return out
}

// firstAnswerWait is how long Add waits for the connector.
const firstAnswerWait = 3 * time.Second

// Add catalogues and joins a platform. One that was only catalogued joins; one
// that is suspended joins at its new address.
//
// Errors: fault.PlatformExists.
func (c *Catalogue) Add(ctx context.Context, e platform.Entry) (platform.Info, error) {
	if err := c.add(ctx, e); err != nil {
		return platform.Info{}, err
	}
	c.log.InfoContext(ctx, "platform joined", "platform", e.ID)
	return c.firstAnswer(ctx, e.ID), nil
}

func (c *Catalogue) add(ctx context.Context, e platform.Entry) error {
	c.changes.Lock()
	defer c.changes.Unlock()
	if old, ok := c.entry(e.ID); ok && old.Joined() {
		return fault.PlatformExists.On("platformId")
	}
	return c.put(ctx, e)
}

// firstAnswer waits until the platform was probed once, or a little while.
func (c *Catalogue) firstAnswer(ctx context.Context, id platform.ID) platform.Info {
	ctx, cancel := context.WithTimeout(ctx, firstAnswerWait)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		info, ok := c.Known(id)
		if !ok || info.Health != platform.HealthUnknown {
			return info
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return info
		}
	}
}

// Put records an entry, replacing the one of the same id, and lets the roster
// follow: an entry with an address joins.
func (c *Catalogue) Put(ctx context.Context, e platform.Entry) error {
	c.changes.Lock()
	defer c.changes.Unlock()
	return c.put(ctx, e)
}

func (c *Catalogue) put(ctx context.Context, e platform.Entry) error {
	if _, err := platform.ParseID(string(e.ID)); err != nil {
		return err
	}
	if e.Address != "" && !platform.IsAddress(e.Address) { // once on disk it would keep the hub from starting
		return fault.AddressInvalid.On("address")
	}
	e, old, err := c.record(ctx, e)
	if err != nil {
		return err
	}
	if e.Address == "" || !c.dialled {
		return nil
	}
	defer c.wake()
	if old.Address != "" {
		return c.roster.Update(e)
	}
	return c.roster.Join(e)
}

// record puts the entry on disk and returns it and what it replaced (zero for
// none). When it was added, what its connector offered and what the catalogue
// file said of it stay.
func (c *Catalogue) record(ctx context.Context, e platform.Entry) (now, old platform.Entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.entry(e.ID)
	if known {
		e.AddTime = old.AddTime
		if e.Functions == 0 {
			e.Functions = old.Functions
		}
		if old.Listing != (platform.Listing{}) {
			e.Listing = old.Listing
		}
	}
	if err := c.store.PutPlatform(ctx, e); err != nil {
		return e, old, fmt.Errorf("record platform: %w", err)
	}
	c.replace(e)
	return e, old, nil
}

// replace makes the next snapshot of the entries.
func (c *Catalogue) replace(e platform.Entry) {
	next := slices.Clone(c.Entries())
	i, ok := slices.BinarySearchFunc(next, e.ID, func(x platform.Entry, id platform.ID) int { return cmp.Compare(x.ID, id) })
	if ok {
		next[i] = e
	} else {
		next = slices.Insert(next, i, e)
	}
	c.entries.Store(&next)
}

// Suspend stops asking a platform; its orders wait.
//
// Errors: fault.PlatformUnknown, fault.PlatformState.
func (c *Catalogue) Suspend(ctx context.Context, id platform.ID, reason string) (platform.Info, error) {
	return c.setSuspended(ctx, id, true, reason)
}

// Resume asks a suspended platform again.
//
// Errors: fault.PlatformUnknown, fault.PlatformState.
func (c *Catalogue) Resume(ctx context.Context, id platform.ID) (platform.Info, error) {
	return c.setSuspended(ctx, id, false, "")
}

func (c *Catalogue) setSuspended(ctx context.Context, id platform.ID, suspended bool, reason string) (platform.Info, error) {
	c.changes.Lock()
	defer c.changes.Unlock()
	e, ok := c.entry(id)
	switch {
	case !ok:
		return platform.Info{}, fault.PlatformUnknown.On("platformId")
	case e.Address == "" || e.Suspended == suspended:
		return platform.Info{}, fault.PlatformState.New()
	}
	e.Suspended, e.SuspendReason = suspended, reason
	if err := c.put(ctx, e); err != nil {
		return platform.Info{}, err
	}
	c.log.InfoContext(ctx, "platform suspension changed", "platform", id, "suspended", suspended)
	info, _ := c.Known(id)
	return info, nil
}

// described keeps what a platform offers, so that after a start it is known
// before its connector answers.
func (c *Catalogue) described(id platform.ID, f platform.Functions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entry(id)
	if !ok || e.Functions == f {
		return
	}
	e.Functions = f
	if err := c.store.PutPlatform(context.Background(), e); err != nil {
		c.log.Error("functions not recorded", "platform", id, "error", err)
		return
	}
	c.replace(e)
}
