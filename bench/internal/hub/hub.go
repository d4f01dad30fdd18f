// Package hub is the part of a hub that looks numbers up, without a disk, for
// programs that measure it.
package hub

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

// Options configures a Hub.
type Options struct {
	// Deadline is how long a platform may take; 0 means the one of production.
	Deadline time.Duration
	// Watch makes lookups wait as the API does, woken by every answer, instead of
	// for the moment in which a complete lookup is stored.
	Watch bool
	// Observe is told every answer; may be nil.
	Observe func(platform.ID, platform.Answer)
}

// Hub is a roster and a lookup service over a store in memory. It is safe for
// concurrent use.
type Hub struct {
	roster  *link.Roster
	service *lookup.Service
	store   *store
	watch   bool
	session atomic.Uint64
}

// Credentials are those of the site's hub.
func Credentials(site fleet.Site) (pki.Credentials, error) {
	cert, err := pki.Pair{CertPEM: site.CertPEM, KeyPEM: site.KeyPEM}.TLS()
	if err != nil {
		return pki.Credentials{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(site.CAPEM) {
		return pki.Credentials{}, errors.New("the site holds no authority")
	}
	return pki.Fixed(cert, roots), nil
}

// New joins the platforms of the site and waits until all of them serve, for
// 15 s at most.
func New(site fleet.Site, o Options) (*Hub, error) {
	creds, err := Credentials(site)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		roster: link.NewRoster(link.Options{Dial: link.Dial{Credentials: creds, TrustDomain: site.TrustDomain}}),
		store:  newStore(o.Watch), watch: o.Watch,
	}
	var entries []platform.Entry
	for _, p := range site.Platforms {
		e := platform.Entry{ID: platform.ID(p.ID), DisplayName: p.ID, Category: "实用工具", Address: p.Address, Functions: platform.FunctionLookup}
		entries = append(entries, e)
		if err := h.roster.Join(e); err != nil {
			h.roster.Close()
			return nil, err
		}
	}
	limits := lookup.DefaultLimits()
	if o.Deadline > 0 {
		limits.PlatformDeadline = o.Deadline
	}
	h.service = lookup.New(lookup.Options{
		Store: h.store, Joined: h.roster.Platforms, Catalogue: func() []platform.Entry { return entries },
		Limits: limits, Observe: o.Observe, Logger: slog.New(slog.DiscardHandler),
	})
	if err := h.serving(15 * time.Second); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) serving(within time.Duration) error {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		var waiting platform.Info
		for _, p := range h.roster.Platforms() {
			if i := p.Info(); i.Health != platform.HealthServing {
				waiting = i
			}
		}
		if waiting.ID == "" {
			return nil
		}
		if time.Since(begin) > within {
			return fmt.Errorf("%s does not serve: %s", waiting.ID, waiting.Problem)
		}
	}
}

// Lookup looks a number up and returns, once the lookup is complete, how many
// platforms were asked and how many answered.
func (h *Hub) Lookup(n phone.Number) (asked, answered int) {
	done := make(chan lookup.Lookup, 1)
	r := lookup.Request{Number: n, HolderSince: time.Unix(1_700_000_000, 0)}
	seq := h.session.Add(1)
	for i := range 8 {
		r.Subject[i], r.NumberIndex[i], r.SessionKey[i] = byte(seq>>(8*i)), byte(seq>>(8*i)), byte(seq>>(8*i))
	}
	ctx := context.WithValue(context.Background(), doneKey{}, done)
	l, err := h.service.Start(ctx, r)
	if err != nil {
		return len(h.roster.Platforms()), 0
	}
	if h.watch {
		defer h.store.forget(l.ID)
		if l, err = h.service.Wait(ctx, r.Subject, l.ID, time.Minute, math.MaxInt); err != nil {
			return len(h.roster.Platforms()), 0
		}
	} else {
		l = <-done
	}
	asked, answered, _ = l.Counts()
	return asked, answered
}

// Close ends the lookups under way and leaves the platforms.
func (h *Hub) Close() {
	h.roster.Close() // so that what is open is silent at once
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	h.service.Close(ctx)
}
