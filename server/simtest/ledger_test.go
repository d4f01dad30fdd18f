// Package simtest lives through months of a hub in about a second each: a real
// store, real gRPC, platforms and carriers that fail in every way, restarts and
// crashes, all from one seed. A ledger of its own, that knows nothing of the hub's
// code, says what must hold.
package simtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ledger notes what platforms saw and what persons were told, and holds both
// against the rules of docs/states.md and of P1, P2 and P8. Its methods may be
// called by anybody, also under the callers' own locks: they wait for nothing.
type ledger struct {
	mu       sync.Mutex
	now      func() time.Time
	lives    map[string]*life
	wishes   []*wish
	runs     []span // of the hub; the last one may be open
	pauses   []span // of the dispatcher
	away     map[string][]span
	checks   map[string][]check // of holders, by number and since
	breaches []breach
	halt     chan struct{} // closed at the first breach
	maxAge   time.Duration

	sends, polls, reports, detached, crashes int
}

type span struct {
	from, to time.Time // to is zero while it lasts
	crashed  bool
}

// breach is a rule that did not hold, with the order whose story tells why.
type breach struct{ rule, order, text string }

// wish is one order that a person asked for: what it may detach was worked out
// when it was asked for, from the platform's own records.
type wish struct {
	person   *person
	platform string
	refs     []string
	at       time.Time
	id       string // of the order it became
	unknown  bool   // the person never heard what became of it
}

// life is the life of one order as seen from outside the hub.
type life struct {
	id, platform string
	wish         *wish
	told         string // the state its person was told last
	said         map[string]bool
	open         map[*call]bool
	attempt      int
	sent         int
	effects      int
	snoozed      *snooze
	cancelled    bool
	settled      span        // from: when the hub heard of its end
	old          []time.Time // attempts that failed at an age at which the hub gives up
	gaveUp       time.Time   // when there were so many of them that it must have
	revived      time.Time   // by an appeal or a replay
	revivals     int
	appeals      int  // of these
	discarded    bool // the operator said so, though perhaps nobody heard
	firstSent    time.Time
	story        []string
}

// isTooOld reports whether the order has been open for so long that the hub gives
// up at the next attempt that fails.
func (l *life) isTooOld(now time.Time, maxAge time.Duration) bool {
	if l.wish == nil {
		return false
	}
	opened := l.wish.at
	if l.revived.After(opened) {
		opened = l.revived
	}
	return now.Sub(opened) > maxAge
}

// failsOld notes one more attempt that failed when the order was too old. The hub
// wants to have tried in vain for a while before it gives up.
func (l *life) failsOld(now time.Time) {
	if l.old = append(l.old, now); len(l.old) > 15 && now.Sub(l.old[0]) > 3*time.Hour {
		l.gaveUp = now
	}
}

// wasTaken reports whether the platform ever took the order: then it is asked
// about, and not given up.
func (l *life) wasTaken() bool {
	return l.said["IN_REVIEW"] || l.said["ACCEPTED"] || l.said["ACTION_REQUIRED"]
}

type snooze struct {
	attempt, run int
	until        time.Time
}

// call is one call of the hub to a platform about an order.
type call struct {
	l     *life
	run   int
	began time.Time
	poll  bool
}

// check is one answer of the carrier to a question about a holder.
type check struct {
	at     time.Time
	change string // "" where it gave none
}

func newLedger(maxAge time.Duration) *ledger {
	return &ledger{
		now: time.Now, lives: make(map[string]*life), away: make(map[string][]span), checks: make(map[string][]check),
		halt: make(chan struct{}), maxAge: maxAge,
	}
}

// slack is how long what was begun may still take effect: the carrier is asked,
// the call is made.
const slack = 20 * time.Second

// life finds an order's, or begins it: a platform may see an order before the
// person is told its id. The mutex is held.
func (g *ledger) life(id, platform string) *life {
	l := g.lives[id]
	if l == nil {
		l = &life{id: id, platform: platform, said: make(map[string]bool), open: make(map[*call]bool)}
		g.lives[id] = l
	}
	return l
}

func (g *ledger) tell(l *life, format string, args ...any) {
	l.story = append(l.story, g.now().UTC().Format("01-02 15:04:05.000  ")+fmt.Sprintf(format, args...))
}

// breach notes that a rule did not hold. The mutex is held.
func (g *ledger) breach(rule string, l *life, format string, args ...any) {
	b := breach{rule: rule, text: fmt.Sprintf(format, args...)}
	if l != nil {
		b.order = l.id
		g.tell(l, "BREACH of %q: %s", rule, b.text)
	}
	if len(g.breaches) == 0 {
		close(g.halt)
	}
	g.breaches = append(g.breaches, b)
}

// broken reports whether a rule did not hold; the world then ends.
func (g *ledger) broken() bool {
	select {
	case <-g.halt:
		return true
	default:
		return false
	}
}

// account is an account as its platform keeps it.
type account struct {
	ref   string
	bound time.Time
}

// wished notes what a person is about to ask for.
func (g *ledger) wished(p *person, platform string, refs []string) *wish {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &wish{person: p, platform: platform, at: g.now(), refs: slices.Sorted(slices.Values(refs))}
	g.wishes = append(g.wishes, w)
	return w
}

// asks notes that a person, who has just been verified, asks for what is wished.
func (g *ledger) asks(wishes []*wish) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range wishes {
		w.at = g.now()
	}
}

// answered notes the id that a person was given for a wish. An order that stands
// for a new one is somebody's older order.
func (g *ledger) answered(w *wish, id, state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.life(id, w.platform)
	w.id = id
	if l.wish == nil {
		l.wish = w
		g.tell(l, "%s is given it for %v at %s", w.person.name, w.refs, w.platform)
	}
	if l.wish.person != w.person || l.platform != w.platform {
		g.breach("an order is of its person and platform", l, "%s was given it for %s", w.person.name, w.platform)
	}
	if l.told == "" {
		g.toldLocked(l, state)
	}
}

// unheard notes that a person never heard what became of a wish.
func (g *ledger) unheard(w *wish) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.unknown = true
}

// ran notes that the hub began a run and returns its number.
func (g *ledger) ran() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs = append(g.runs, span{from: g.now()})
	return len(g.runs)
}

// stopped notes the end of the hub's run.
func (g *ledger) stopped(crashed bool, how string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := &g.runs[len(g.runs)-1]
	last.to, last.crashed = g.now(), crashed
	if crashed {
		g.crashes++
	}
	for _, l := range g.lives {
		if !final(l.told) || len(l.open) > 0 {
			g.tell(l, "the hub stops: %s", how)
		}
	}
}

// crashedWithin reports whether the hub crashed or stopped in the time after at in
// which what it heard then may not be on disk yet.
func (g *ledger) crashedWithin(at time.Time, d time.Duration) bool {
	for _, r := range g.runs {
		if !r.to.IsZero() && !r.to.Before(at) && r.to.Before(at.Add(d)) {
			return true
		}
	}
	return false
}

// during reports whether at lies in one of the spans, more than slack after its
// beginning.
func during(list []span, at time.Time) bool {
	for _, s := range list {
		if at.After(s.from.Add(slack)) && (s.to.IsZero() || at.Before(s.to)) {
			return true
		}
	}
	return false
}

// paused notes that the dispatcher was paused, or goes on.
func (g *ledger) paused(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pauses = toggle(g.pauses, on, g.now())
}

// suspended notes that a platform was suspended, or is asked again.
func (g *ledger) suspended(platform string, on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away[platform] = toggle(g.away[platform], on, g.now())
}

func toggle(list []span, on bool, now time.Time) []span {
	if n := len(list); n > 0 && list[n-1].to.IsZero() {
		if !on {
			list[n-1].to = now
		}
		return list
	}
	if on {
		list = append(list, span{from: now})
	}
	return list
}

// report is what is printed of a world that broke a rule.
func (g *ledger) report() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	shown := make(map[string]bool)
	for i, x := range g.breaches {
		fmt.Fprintf(&b, "breach of %q, order %s: %s\n", x.rule, x.order, x.text)
		l := g.lives[x.order]
		if l == nil || shown[x.order] || i > 2 {
			continue
		}
		shown[x.order] = true
		for _, line := range shorten(l.story) {
			b.WriteString("    " + line + "\n")
		}
	}
	return b.String()
}

// shorten keeps the beginning and the end of a long story.
func shorten(story []string) []string {
	const first, last = 15, 45
	if len(story) <= first+last {
		return story
	}
	cut := fmt.Sprintf("… %d more …", len(story)-first-last)
	return slices.Concat(story[:first], []string{cut}, story[len(story)-last:])
}
