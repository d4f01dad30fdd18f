package rpc

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
)

// The kinds of new work, which alone can be refused, by a hub that has too much
// to do and by one that is drained. Reads of what runs, codes on their way (the
// session that opens is on disk), cancellations and platforms' reports go on:
// they are how a hub gets done.
const (
	kindVerification = "verification"
	kindLookup       = "lookup"
	kindUnbind       = "unbind"
)

// kinds is read only.
var kinds = map[string]string{
	hubv1.VerificationService_CreateVerification_FullMethodName: kindVerification,
	hubv1.LookupService_CreateLookup_FullMethodName:             kindLookup,
	hubv1.UnbindService_CreateUnbinds_FullMethodName:            kindUnbind,
	hubv1.UnbindService_AppealUnbind_FullMethodName:             kindUnbind,
}

// Why new work was refused.
const (
	causeRunning = "running" // as many lookups run as may
	causeCalls   = "calls"   // as many calls of the kind are under way as may
	causeAddress = "address" // as many of them are one address's as may be
	causeStorage = "storage" // the disk has too little room
)

// causes is read only.
var causes = []string{causeRunning, causeCalls, causeAddress, causeStorage}

// storageRetry is how soon a caller whom a full disk turned away should come back:
// somebody has to make room first.
const storageRetry = time.Minute

// The places of a kind: how many calls of it are under way at once. They begin at
// the most, and follow the delay of the hub's own steps, see delay.
const (
	mostPlaces  = 2048
	leastPlaces = 32 // never less, so that the hub always takes something
)

// A refused client is asked to come back after a time of its own within these, so
// that those refused together don't come back together.
const (
	soonest = 1 * time.Second
	latest  = 5 * time.Second
)

// gate admits new work or refuses it at once, before anything was read for it. A
// refusal says no more than that the hub is busy, so it may come before the
// session is looked at, which costs a read.
type gate struct {
	maxLookups int         // 0: no limit
	running    func() int  // lookups under way
	noRoom     func() bool // the disk has too little room for new work

	mu       sync.Mutex
	delay    delay
	calls    map[string]int    // under way, by kind
	by       map[[2]string]int // the same by kind and address
	rejected map[[2]string]int // since the start, by kind and cause
}

func newGate(maxLookups int, running func() int, noRoom func() bool) *gate {
	if noRoom == nil {
		noRoom = func() bool { return false }
	}
	return &gate{
		maxLookups: maxLookups, running: running, noRoom: noRoom, delay: delay{places: mostPlaces},
		calls: make(map[string]int), by: make(map[[2]string]int), rejected: make(map[[2]string]int),
	}
}

// enter takes a place for a call of new work, which the caller's leave gives
// back. Other calls need none, nor do those that authorisation refuses anyway.
//
// Errors: fault.Overloaded, fault.StorageFull.
func (g *gate) enter(method string, c *caller) error {
	kind, isNew := kinds[method]
	if !isNew || !c.fromGateway {
		return nil
	}
	from := [2]string{kind, c.address}
	noRoom := g.noRoom()
	g.mu.Lock()
	defer g.mu.Unlock()
	if noRoom {
		g.rejected[[2]string{kind, causeStorage}]++
		return fault.StorageFull.New().WithRetry(storageRetry)
	}
	if cause := g.full(from); cause != "" {
		g.rejected[[2]string{kind, cause}]++
		return fault.Overloaded.New().WithRetry(soonest + rand.N(latest-soonest))
	}
	g.calls[kind]++
	g.by[from]++
	c.leave = func() { g.leave(from) }
	return nil
}

// full says why there is no place, "" where there is one. A lookup that is being
// made counts as running from the beginning, so that many at once don't pass the
// limit together; for the moment between its start and the end of its call it
// counts twice. The mutex is held.
func (g *gate) full(from [2]string) (cause string) {
	kind, address := from[0], from[1]
	places := g.delay.now(time.Now())
	switch {
	case g.calls[kind] >= places:
		return causeCalls
	case !anybodys(address) && g.by[from] >= places-places/4:
		return causeAddress
	case kind == kindLookup && g.maxLookups > 0 && g.calls[kind]+g.running() >= g.maxLookups:
		return causeRunning
	}
	return ""
}

// anybodys reports whether an address says nothing of who is behind it: none is
// known, or it is this machine's, as behind a proxy that is not trusted.
func anybodys(address string) bool {
	return address == "" || strings.HasPrefix(address, "127.") || address == network("::1")
}

func (g *gate) leave(from [2]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls[from[0]]--
	if g.by[from]--; g.by[from] == 0 {
		delete(g.by, from)
	}
}

// stepped notes how long a step of the hub's own took.
func (g *gate) stepped(took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	busiest := 0
	for _, n := range g.calls {
		busiest = max(busiest, n)
	}
	g.delay.note(time.Now(), took, busiest)
}

// Stepped tells admission how long the store took to record new work, waiting
// included. It never blocks.
func (s *Server) Stepped(took time.Duration) { s.gate.stepped(took) }

// Admission is how much new work there is, and how much was refused.
type Admission struct {
	Running, MaxRunning int            // lookups; no limit where MaxRunning is 0
	Calls               map[string]int // under way by kind: verification, lookup, unbind
	Places              int            // so many of each kind may be under way now
	Rejected            []Rejected
}

// Rejected counts what was refused since the start. Cause is running, calls,
// address or storage.
type Rejected struct {
	Kind, Cause string
	Count       int
}

// Admission is how it stands now. Every kind and cause is listed, also at 0.
func (s *Server) Admission() Admission {
	g := s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	a := Admission{Running: g.running(), MaxRunning: g.maxLookups, Calls: make(map[string]int), Places: g.delay.now(time.Now())}
	for _, kind := range []string{kindVerification, kindLookup, kindUnbind} {
		a.Calls[kind] = g.calls[kind]
		for _, cause := range causes {
			if cause != causeRunning || kind == kindLookup {
				a.Rejected = append(a.Rejected, Rejected{kind, cause, g.rejected[[2]string{kind, cause}]})
			}
		}
	}
	return a
}
