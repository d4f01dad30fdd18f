package bolt

import (
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// leases are the claims of this run of the hub. They live in memory alone: the
// disk says QUEUED all the while, so a crash makes every leased order due again.
type leases struct {
	mu   sync.Mutex
	last uint64 // the newest token; its upper half is the count of openings
	by   map[string]lease
}

type lease struct {
	token    uint64
	until    time.Time
	platform platform.ID
	raw      []byte // the order's record as it was claimed
	// pinned: somebody is about to write the order; no other claim may begin,
	// however old the lease is.
	pinned bool
}

func (l *leases) begin(opens int64) {
	l.last = uint64(opens) << 32
	l.by = make(map[string]lease)
}

// live reports whether the order is being sent.
func (l *leases) live(id string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.liveLocked(id, now)
}

func (l *leases) liveLocked(id string, now time.Time) bool {
	have, ok := l.by[id]
	return fenced && ok && (have.pinned || now.Before(have.until))
}

// takeLocked leases the order and returns the token.
func (l *leases) takeLocked(id string, fresh lease) uint64 {
	l.last++
	fresh.token = l.last
	l.by[id] = fresh
	return l.last
}

// pin keeps the order from being claimed while its lease holder writes, and
// returns its record as it was claimed; false when token is not the order's live
// lease.
func (l *leases) pin(id string, token uint64, now time.Time) (raw []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.by[id]
	if fenced && (!ok || have.token != token || have.pinned || !now.Before(have.until)) {
		return nil, false
	}
	have.pinned = true
	l.by[id] = have
	return have.raw, true
}

// pinFree keeps an order that nobody is sending from being claimed; false when
// somebody is.
func (l *leases) pinFree(id string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.liveLocked(id, now) {
		return false
	}
	l.last++
	l.by[id] = lease{token: l.last, until: now, pinned: true}
	return true
}

// extend makes a live lease last until another time; false when token is not it.
func (l *leases) extend(id string, token uint64, now, until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.by[id]
	if !ok || have.token != token || have.pinned || !now.Before(have.until) {
		return false
	}
	have.until = until
	l.by[id] = have
	return true
}

// drop ends the order's lease.
func (l *leases) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.by, id)
}

// unpin gives a pinned lease back to its holder.
func (l *leases) unpin(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.by[id]; ok {
		have.pinned = false
		l.by[id] = have
	}
}

// release ends the order's lease if token is it.
func (l *leases) release(id string, token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.by[id]; ok && have.token == token && !have.pinned {
		delete(l.by, id)
	}
}

// ids returns the orders being sent.
func (l *leases) ids(now time.Time) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]bool, len(l.by))
	for id := range l.by {
		if l.liveLocked(id, now) {
			out[id] = true
		}
	}
	return out
}

// sending counts live leases by platform.
func (l *leases) sending(now time.Time) map[platform.ID]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[platform.ID]int64)
	for _, have := range l.by {
		if have.platform != "" && now.Before(have.until) {
			out[have.platform]++
		}
	}
	return out
}
