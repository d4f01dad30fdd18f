package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/hub"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// theHub is the part of a hub that unbinds: its database on disk, the roster, the
// dispatcher.
type theHub struct {
	dir     string
	keys    *seal.Keys
	store   *watched
	roster  *link.Roster
	service *unbind.Service
	stop    func() error
	seq     atomic.Uint64
	failed  atomic.Int64
}

const (
	serveWithin  = 15 * time.Second
	settleWithin = 10 * time.Second
)

// newHub opens a hub in a fresh folder and waits until all platforms serve.
func newHub(site fleet.Site, parent string) (_ *theHub, err error) {
	h := new(theHub)
	if h.dir, err = os.MkdirTemp(parent, "badqueue-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = h.close() // the first error is what counts
		}
	}()
	if err := h.open(site); err != nil {
		return nil, err
	}
	d := unbind.NewDispatcher(unbind.DispatchOptions{
		Service: h.service, Joined: h.roster.Platforms, Observe: h.store.attempted, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	h.stop = func() error { cancel(); return <-ended }
	return h, h.serving()
}

func (h *theHub) open(site fleet.Site) error {
	file := filepath.Join(h.dir, "keys.json")
	if err := seal.Create(file); err != nil {
		return err
	}
	var err error
	if h.keys, err = seal.Load(file); err != nil {
		return err
	}
	store, err := bolt.Open(filepath.Join(h.dir, "hub.db"), h.keys)
	if err != nil {
		return err
	}
	h.store = newWatched(store)
	h.service = unbind.NewService(unbind.Options{
		Queue: h.store, Orders: store, MAC: h.keys, AllowUnattested: true, Logger: slog.New(slog.DiscardHandler),
		DueTime: func(t time.Time) time.Time { return t.Add(120 * time.Hour) },
	})
	creds, err := hub.Credentials(site)
	if err != nil {
		return err
	}
	h.roster = link.NewRoster(link.Options{
		Dial: link.Dial{Credentials: creds, TrustDomain: site.TrustDomain}, OnServing: func(platform.ID) { h.service.Wake() },
	})
	for _, p := range site.Platforms {
		e := platform.Entry{ID: platform.ID(p.ID), DisplayName: p.ID, Category: "实用工具", Address: p.Address, Functions: platform.FunctionUnbind}
		if err := h.roster.Join(e); err != nil {
			return err
		}
	}
	return nil
}

func (h *theHub) serving() error {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		i := slices.IndexFunc(h.roster.Platforms(), func(p platform.Platform) bool { return p.Info().Health != platform.HealthServing })
		if i < 0 {
			return nil
		}
		if time.Since(begin) > serveWithin {
			return fmt.Errorf("%s does not serve", h.roster.Platforms()[i].Info().ID)
		}
	}
}

// order makes one order, at each platform in turn.
func (h *theHub) order(n phone.Number) (asked, answered int) {
	seq := h.seq.Add(1)
	all := h.roster.Platforms()
	at := all[seq%uint64(len(all))].Info().ID
	r := unbind.Request{Number: n, LookupID: "lookup", RequestID: seal.NewID(time.Now())}
	binary.BigEndian.PutUint64(r.Subject[:], seq)
	binary.BigEndian.PutUint64(r.NumberIndex[:], seq)
	r.Asked = []unbind.Asked{{Platform: at, Joined: true, Answered: true, Unbindable: true, Accounts: []platform.Account{{Ref: "account-1"}}}}
	began := time.Now()
	placed, err := h.service.Request(context.Background(), r)
	if err != nil || placed[0].Reason != "" {
		h.failed.Add(1)
		return 1, 0
	}
	h.store.placed(placed[0].Order, began)
	return 1, 1
}

func (h *theHub) begin() { h.store.measure(true) }

// end waits for the orders of the healthy platforms and ends the measurement.
func (h *theHub) end() {
	h.settle()
	h.store.measure(false)
}

// settle waits until no order was completed for a second, for 10 s at most.
func (h *theHub) settle() {
	last, since := h.store.completed(), time.Now()
	for begin := time.Now(); time.Since(begin) < settleWithin && time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		if n := h.store.completed(); n != last {
			last, since = n, time.Now()
		}
	}
}

func (h *theHub) figures(got *seen, bad []fleet.Address, round time.Duration) {
	isBad := make(map[platform.ID]bool)
	for _, p := range bad {
		isBad[platform.ID(p.ID)] = true
	}
	took, open := h.store.took(isBad)
	got.p50, got.p99 = load.Quantile(took, 0.5), load.Quantile(took, 0.99)
	got.perSecond = float64(len(took)) / round.Seconds()
	got.share = float64(len(took)) / float64(max(len(took)+open+int(h.failed.Load()), 1))
	got.badSent, got.badDone = h.store.bad(isBad)
}

func (h *theHub) close() error {
	var all error
	if h.stop != nil {
		all = h.stop()
	}
	if h.roster != nil {
		h.roster.Close()
	}
	if h.store != nil {
		all = errors.Join(all, h.store.Close())
	}
	return errors.Join(all, os.RemoveAll(h.dir))
}
