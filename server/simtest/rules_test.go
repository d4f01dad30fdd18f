package simtest

import (
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/unbind"
)

// sending is an unbind call as a platform sees it.
type sending struct {
	id, number string
	refs       []string
	before     time.Time
	attempt    int
	run        int
}

// began notes that an unbind call came in, and checks that it may.
func (g *ledger) began(platform string, s sending) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sends++
	now := g.now()
	l := g.life(s.id, platform)
	g.tell(l, "%s gets it, attempt %d", platform, s.attempt)
	c := g.openLocked(l, platform, s.run, false)
	if l.sent++; l.firstSent.IsZero() {
		l.firstSent = now
	}
	w := g.wishOf(l, platform, s)
	if w == nil {
		g.breach("nobody is sent what no person asked for", l, "%v of %s, bound before %v", s.refs, s.number, s.before)
		return c
	}
	g.checkMayBeSent(l, now)
	g.checkAttempt(l, s, now)
	g.checkHolder(l, w, now)
	return c
}

// wishOf finds what a call fulfils: the accounts of a wish, all and no others,
// with its person's number and date.
func (g *ledger) wishOf(l *life, platform string, s sending) *wish {
	fits := func(w *wish) bool {
		return w.platform == platform && w.person.number.E164() == s.number && w.person.since.Equal(s.before) &&
			slices.Equal(w.refs, slices.Sorted(slices.Values(s.refs)))
	}
	if l.wish != nil {
		if fits(l.wish) {
			return l.wish
		}
		return nil
	}
	for _, w := range slices.Backward(g.wishes) {
		if fits(w) {
			return w
		}
	}
	return nil
}

func (g *ledger) openLocked(l *life, platform string, run int, poll bool) *call {
	if l.platform != platform {
		g.breach("an order goes to its platform alone", l, "%s was asked", platform)
	}
	for c := range l.open {
		if c.run == run {
			g.breach("one call at a time about an order", l, "the one of %s is still open", c.began.UTC().Format("15:04:05.000"))
		}
	}
	c := &call{l: l, run: run, began: g.now(), poll: poll}
	l.open[c] = true
	return c
}

func (g *ledger) checkMayBeSent(l *life, now time.Time) {
	switch {
	case l.cancelled:
		g.breach("what was taken back is not sent", l, "it is sent")
	case !l.settled.from.IsZero() && now.After(l.settled.from.Add(slack)) && !g.crashedWithin(l.settled.from, slack):
		g.breach("an order that has ended is not sent", l, "the hub heard of the end at %s", l.settled.from.UTC().Format("01-02 15:04:05"))
	case !l.gaveUp.IsZero() && now.After(l.gaveUp.Add(slack)) && !g.crashedWithin(l.gaveUp, slack) && !l.wasTaken():
		g.breach("an order that is too old becomes a dead letter", l, "its attempt of %s failed", l.gaveUp.UTC().Format("01-02 15:04:05"))
	case during(g.pauses, now):
		g.breach("nothing is sent while sending is paused", l, "it is sent")
	case during(g.away[l.platform], now):
		g.breach("nothing is sent to a suspended platform", l, "it is sent")
	}
}

func (g *ledger) checkAttempt(l *life, s sending, now time.Time) {
	if s.attempt < l.attempt || s.attempt < 1 {
		g.breach("attempt numbers never fall", l, "%d after %d", s.attempt, l.attempt)
	}
	if z := l.snoozed; z != nil && z.run == s.run {
		if s.attempt != z.attempt {
			g.breach("an order that is put off costs no attempt", l, "attempt %d after %d", s.attempt, z.attempt)
		}
		if now.Before(z.until) {
			g.breach("an order that is put off waits", l, "until %s", z.until.UTC().Format("01-02 15:04:05"))
		}
	}
	l.snoozed = nil
	l.attempt = s.attempt
}

// holderStale is how long a carrier's word about a holder stands.
const holderStale = 24 * time.Hour

// checkHolder: an order is sent on a carrier's word that is a day old at most,
// and not when the last word, or that of a moment ago, was that the number
// changed hands.
func (g *ledger) checkHolder(l *life, w *wish, now time.Time) {
	good := w.at // an attestation stood behind the wish
	var last check
	for _, c := range g.checks[w.person.key()] {
		if c.change == "NONE" && c.at.After(good) {
			good = c.at
		}
		last = c
	}
	if last.change == "HANDS" && now.Sub(good) > slack {
		g.breach("no attempt after the carrier said that the number changed hands", l, "it said so at %s", last.at.UTC().Format("01-02 15:04:05"))
	}
	if now.Sub(good) > holderStale+slack {
		g.breach("no attempt on a carrier's word older than a day", l, "the last is of %s", good.UTC().Format("01-02 15:04:05"))
	}
}

// polled notes that the hub asks how an order goes.
func (g *ledger) polled(platform, id string, run int) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.polls++
	l := g.life(id, platform)
	g.tell(l, "%s is asked how it goes", platform)
	return g.openLocked(l, platform, run, true)
}

// closed notes that the hub hung up.
func (g *ledger) closed(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(c.l.open, c)
}

// ended notes a platform's answer; heard says whether the hub gets it.
func (g *ledger) ended(c *call, r reply, heard bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(c.l.open, c)
	g.tell(c.l, "%s answers %s (heard: %v)", c.l.platform, r, heard)
	if word := r.word(); word != "" {
		c.l.said[word] = true
	}
	if !heard {
		return
	}
	if r.ends() {
		c.l.settled = span{from: g.now()}
	}
	if !c.poll && c.l.isTooOld(g.now(), g.maxAge) && r.word() == "" {
		c.l.failsOld(g.now())
	}
	if d := r.putOff(); d > 0 && !c.poll {
		c.l.snoozed = &snooze{attempt: c.l.attempt, run: c.run, until: g.now().Add(d)}
	}
}

// says notes a report that a platform is about to make.
func (g *ledger) says(platform, id, word string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reports++
	l := g.lives[id]
	if l == nil || l.platform != platform {
		return // of an unknown order, or another platform's
	}
	l.said[word] = true
	g.tell(l, "%s reports %s", platform, word)
}

// tookReport notes what the hub answered to a report.
func (g *ledger) tookReport(platform, id, state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lives[id]
	if l == nil || l.platform != platform {
		g.breach("a platform reports on its own orders alone", l, "%s reported on %s and was told %s", platform, id, state)
		return
	}
	g.tell(l, "the hub takes the report: %s", state)
	if final(state) && l.settled.from.IsZero() {
		l.settled = span{from: g.now()}
	}
}

// detaches notes an effect: these accounts lose the number.
func (g *ledger) detaches(platform string, t *taken, gone []account) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.life(t.id, platform)
	l.effects++
	g.detached++
	g.tell(l, "%s detaches %d accounts", platform, len(gone))
	if l.effects > 1 {
		g.breach("an order has one effect", l, "this is number %d", l.effects)
	}
	if l.cancelled {
		g.breach("what was taken back has no effect", l, "%d accounts", len(gone))
	}
	w := g.wishOf(l, platform, sending{number: t.number, refs: t.refs, before: t.before})
	if w == nil {
		g.breach("nothing is detached that no person asked for", l, "%v of %s, bound before %v", t.refs, t.number, t.before)
		return
	}
	for _, a := range gone {
		if !a.bound.Before(w.person.since) {
			g.breach("accounts of the holder stay", l, "%s was bound at %v, the holder has the number since %v", a.ref, a.bound, w.person.since)
		}
	}
}

// told notes the state that a person was told.
func (g *ledger) told(o unbind.Order) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lives[o.ID]
	if l == nil {
		return // the end of the world will ask whose it is
	}
	g.toldLocked(l, o.State.String())
	g.checkWord(l, o)
}

func (g *ledger) toldLocked(l *life, state string) {
	if l.told == state {
		return
	}
	g.tell(l, "its person is told %s", state)
	if state == "APPEALED" && l.appeals == 0 {
		g.breach("an order is appealed by its person alone", l, "nobody did")
	}
	if _, known := moves[state]; !known || l.told != "" && !reachable(l.told, state, l.revivals > 0) {
		g.breach("states only move forward", l, "%s after %s", state, l.told)
	}
	l.told = state
	if state == "CANCELLED" {
		l.cancelled = true
	}
}

// reviving notes that a person appeals, or that the operator replays: the order may
// be open again from now on, whatever the caller is answered.
func (g *ledger) reviving(platform, id, how string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.life(id, platform)
	g.tell(l, "it is to be opened again: %s", how)
	l.revivals++
	if how == "appeal" {
		l.appeals++
	}
	l.revived, l.settled, l.snoozed, l.gaveUp, l.old = g.now(), span{}, nil, time.Time{}, nil
}

// discarding notes that the operator puts a dead letter aside for good.
func (g *ledger) discarding(platform, id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.life(id, platform)
	g.tell(l, "the operator discards it")
	l.discarded = true
}
