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
	kept map[string]int // orders that so many cancellations keep from being claimed
}

type lease struct {
	token    uint64
	until    time.Time
	platform platform.ID
	raw      []byte // the order's record as it was claimed
	// pinned: the holder is about to write the order; no other claim may begin,
	// however old the lease is.
	pinned bool
	// doubt: an earlier holder was lost, who may have sent the order. The disk does
	// not know of that.
	doubt bool
}

func (l *leases) begin(opens int64) {
	l.last = uint64(opens) << 32
	l.by = make(map[string]lease)
	l.kept = make(map[string]int)
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

// freeLocked reports whether the order may be claimed.
func (l *leases) freeLocked(id string, now time.Time) bool {
	return !l.liveLocked(id, now) && (!fenced || l.kept[id] == 0)
}

// takeLocked leases the order and returns the token.
func (l *leases) takeLocked(id string, fresh lease) uint64 {
	l.last++
	fresh.token = l.last
	_, fresh.doubt = l.by[id] // its holder did not end it
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

// keep keeps an order from being claimed; false when somebody has it, or had it
// and was lost, who may have sent it. Several may keep one order.
func (l *leases) keep(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.by[id]; fenced && taken {
		return false
	}
	l.kept[id]++
	return true
}

// letGo is the end of keep.
func (l *leases) letGo(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept[id]--; l.kept[id] == 0 {
		delete(l.kept, id)
	}
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

// drop ends the order's lease; known says that the disk knows whether the order
// was sent.
func (l *leases) drop(id string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(id, known)
}

func (l *leases) dropLocked(id string, known bool) {
	if !known && l.by[id].doubt {
		l.by[id] = lease{doubt: true}
		return
	}
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
		l.dropLocked(id, false)
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
