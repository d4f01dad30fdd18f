package simtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// peer is a platform: its accounts, the orders it knows, and a character. Its lock
// is held for no wait.
type peer struct {
	w  *world
	id platform.ID
	character
	troubleAway, troubleUnwell troubles

	members hubv1.MembershipServiceClient

	mu       sync.Mutex
	rnd      *rand.Rand // of what happens now: see about
	named    int
	accounts map[string][]account // by number
	orders   map[string]*taken
	mistaken map[string]bool // orders that it takes for another's
	seen     []string        // ids, to report on
}

// taken is an order that the platform took.
type taken struct {
	id, number string
	refs       []string
	before     time.Time
	stage      string
	reason     string
	at         time.Time // of the stage, by its clock
	attempt    int
	appeal     int
}

func (w *world) newPeer(id string, c character) *peer {
	rnd := w.rand("peer " + id)
	return &peer{
		w: w, id: platform.ID(id), character: c,
		troubleAway:   w.troubles(rnd, c.away[0], c.away[1], c.away[2]),
		troubleUnwell: w.troubles(rnd, c.unwell[0], c.unwell[1], c.unwell[2]),
		accounts:      make(map[string][]account), orders: make(map[string]*taken),
		mistaken: make(map[string]bool),
	}
}

// plan is what becomes of one call.
type plan struct {
	before, after time.Duration
	hang          bool
	deaf          bool // it goes on when the hub has hung up
	fail          *reply
	lose          bool
	malformed     int // 0: not
}

// about takes the lock for something that has to do with a number. What it draws
// depends on that and on the moment alone.
func (p *peer) about(number string) {
	p.mu.Lock()
	p.rnd = p.w.randNow(string(p.id) + number)
}

// draw makes a plan, with the lock held.
func (p *peer) draw() plan {
	if p.w.isWell() {
		return plan{before: p.between(0, 5*time.Millisecond), after: p.between(0, 5*time.Millisecond)}
	}
	d := plan{before: p.between(0, 200*time.Millisecond), after: p.between(0, 200*time.Millisecond), deaf: p.chance(0.5)}
	if p.chance(p.slow) {
		d.before, d.after = p.between(0, 10*time.Second), p.between(0, 10*time.Second)
	}
	switch {
	case p.troubleUnwell.now():
		d.fail = &reply{code: codes.Unavailable}
	case p.chance(p.hangs):
		d.hang = true
	case p.chance(p.fails):
		d.fail = &reply{code: codes.Unavailable}
		if len(p.codes) > 0 {
			d.fail.code = p.codes[p.rnd.IntN(len(p.codes))]
		}
		if len(p.waits) > 0 && p.chance(0.7) {
			w := p.waits[p.rnd.IntN(len(p.waits))]
			d.fail.wait = &w
		}
	}
	d.lose = p.chance(p.loses)
	if p.chance(p.malformed) {
		d.malformed = 1 + p.rnd.IntN(4)
	}
	return d
}

func (p *peer) chance(share float64) bool { return p.rnd.Float64() < share }

func (p *peer) between(a, b time.Duration) time.Duration {
	return a + time.Duration(p.rnd.Float64()*float64(b-a))
}

// unbind is a call of the hub to detach accounts.
func (p *peer) unbind(ctx context.Context, s sending) reply {
	c := p.w.ledger.began(string(p.id), s)
	return p.serve(ctx, c, s.number, func() reply { return p.take(s) })
}

// status is a question of the hub.
func (p *peer) status(ctx context.Context, id string, run int) reply {
	c := p.w.ledger.polled(string(p.id), id, run)
	number := ""
	p.mu.Lock()
	if t := p.orders[id]; t != nil {
		number = t.number
	}
	p.mu.Unlock()
	return p.serve(ctx, c, number, func() reply { return p.stands(id) })
}

// serve answers one call in the platform's way; do is what the call is about.
func (p *peer) serve(ctx context.Context, c *call, number string, do func() reply) reply {
	stop := context.AfterFunc(ctx, func() { p.w.ledger.closed(c) })
	defer stop()
	if p.w.ledger.broken() {
		nap(ctx, 5*time.Second) // so that what goes wrong does not go round and round
	}
	p.about(number)
	d := p.draw()
	p.mu.Unlock()
	patience := ctx
	if d.deaf {
		patience = context.WithoutCancel(ctx)
	}
	end := func(r reply, lost bool) reply {
		p.w.ledger.ended(c, r, ctx.Err() == nil && !lost)
		return r
	}
	switch {
	case d.hang:
		<-ctx.Done()
		return end(failure(codes.DeadlineExceeded), true)
	case !nap(patience, d.before):
		return end(failure(codes.Canceled), true)
	case d.fail != nil:
		return end(*d.fail, false)
	}
	p.about(number)
	r := do()
	p.mu.Unlock()
	nap(patience, d.after)
	switch {
	case d.lose && p.cuts:
		end(r, true)
		p.w.net.cut(p.address())
		return failure(codes.Unavailable)
	case d.lose:
		end(r, true)
		return failure(codes.Unavailable)
	case d.malformed > 0 && r.code == codes.OK:
		r.malformed = d.malformed
	}
	return end(r, false)
}

func (p *peer) address() string { return string(p.id) + ".example:1" }

// take takes an order, or says where it stands. The lock is held.
func (p *peer) take(s sending) reply {
	if p.mistaken[s.id] && !p.w.isWell() {
		return failure(codes.AlreadyExists)
	}
	t := p.orders[s.id]
	switch {
	case t == nil && p.chance(p.mistakes) && !p.w.isWell():
		p.mistaken[s.id] = true
		return failure(codes.AlreadyExists)
	case t != nil && t.number != s.number:
		return failure(codes.AlreadyExists)
	case t == nil:
		t = &taken{id: s.id, number: s.number, refs: s.refs, before: s.before, attempt: s.attempt, appeal: s.appeal}
		p.orders[s.id] = t
		p.seen = append(p.seen, s.id)
		p.begin(t)
	case s.appeal > t.appeal:
		t.appeal, t.attempt = s.appeal, s.attempt
		if t.stage == "REFUSED" {
			p.begin(t)
		}
	case t.stage == "REFUSED" && s.attempt > t.attempt && p.chance(0.5): // it thinks again
		t.attempt = s.attempt
		p.end(t, "COMPLETED")
	}
	return p.says(t)
}

// begin decides what becomes of a new order.
func (p *peer) begin(t *taken) {
	well := p.w.isWell()
	switch {
	case p.mode == "SYNC":
		p.end(t, p.verdict())
		return
	case p.mode == "REDIRECT":
		p.move(t, "ACTION_REQUIRED")
	case p.chance(0.5):
		p.move(t, "ACCEPTED")
	default:
		p.move(t, "IN_REVIEW")
	}
	took := p.between(p.takes[0], p.takes[1])
	if well {
		took = p.between(0, 3*hour)
	}
	p.w.later(took, func() { p.finish(t) })
	if p.mode == "REDIRECT" && !well {
		p.w.later(p.between(0, took), func() { p.turn(t) })
	}
}

func (p *peer) verdict() string {
	if p.chance(p.refuses) && !p.w.isWell() {
		return "REFUSED"
	}
	return "COMPLETED"
}

func (p *peer) move(t *taken, stage string) { t.stage, t.reason, t.at = stage, "", time.Now() }

// end ends an order here and now; its effect is in the ledger before anybody can
// be told.
func (p *peer) end(t *taken, stage string) {
	p.move(t, stage)
	if stage == "REFUSED" {
		reasons := platform.RefusalReasons()
		t.reason = reasons[p.rnd.IntN(len(reasons))]
		return
	}
	p.detach(t)
}

// turn lets an order alternate between the person and the platform.
func (p *peer) turn(t *taken) {
	p.about(t.number)
	switch t.stage {
	case "ACTION_REQUIRED":
		p.move(t, "IN_REVIEW")
	case "IN_REVIEW":
		p.move(t, "ACTION_REQUIRED")
	default:
		p.mu.Unlock()
		return
	}
	w := word{id: t.id, stage: t.stage, appeal: t.appeal, at: t.at}
	p.mu.Unlock()
	p.tell(w)
}

// finish ends an order that took its time, unless the platform forgot it.
func (p *peer) finish(t *taken) {
	p.about(t.number)
	if p.orders[t.id] != t || t.stage == "COMPLETED" || t.stage == "REFUSED" {
		p.mu.Unlock()
		return
	}
	began := t.at
	p.end(t, p.verdict())
	words := p.words(t, began)
	p.mu.Unlock()
	for _, word := range words {
		p.w.later(word.in, func() { p.tell(word) })
	}
}

// detach removes what the order names, but for what was bound at its date or
// later. The lock is held.
func (p *peer) detach(t *taken) {
	var gone, kept []account
	for _, a := range p.accounts[t.number] {
		named := false
		for _, r := range t.refs {
			named = named || r == a.ref
		}
		if named && (t.before.IsZero() || a.bound.Before(t.before)) {
			gone = append(gone, a)
		} else {
			kept = append(kept, a)
		}
	}
	p.accounts[t.number] = kept
	if len(gone) == 0 {
		return
	}
	p.w.ledger.detaches(string(p.id), t, gone)
	for _, a := range gone {
		if p.chance(0.5) { // the holder signs in with the number again
			p.accounts[t.number] = append(p.accounts[t.number], account{ref: a.ref, bound: time.Now()})
		}
	}
}

// says is where an order stands.
func (p *peer) says(t *taken) reply {
	r := reply{stage: t.stage, reason: t.reason, appeal: t.appeal, at: t.at}
	if p.w.isWell() {
		return r
	}
	open := t.stage != "COMPLETED" && t.stage != "REFUSED"
	if open && p.again > 0 {
		r.again = p.again
	} else if open && p.chance(0.3) {
		r.again = []time.Duration{-hour, time.Minute, 6 * hour, 10 * 365 * day}[p.rnd.IntN(4)]
	}
	if p.chance(0.1) {
		r.at = time.Time{}
	}
	if p.contrary && p.chance(0.3) {
		r.stage, r.reason = "IN_REVIEW", ""
	}
	return r
}

// stands answers a question about an order. The lock is held.
func (p *peer) stands(id string) reply {
	t := p.orders[id]
	if t != nil && p.chance(p.forgets) && !p.w.isWell() {
		delete(p.orders, id)
		t = nil
	}
	if t == nil {
		return failure(codes.NotFound)
	}
	return p.says(t)
}
