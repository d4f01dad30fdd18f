package simtest

import (
	"maps"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/unbind"
)

// checkWord holds what an order says of itself against what its platform said.
// The mutex is held.
func (g *ledger) checkWord(l *life, o unbind.Order) {
	last := unbind.Step{}
	if n := len(o.History); n > 0 {
		last = o.History[n-1]
	}
	switch o.State.String() {
	case "COMPLETED":
		if !l.said["COMPLETED"] {
			g.breach("an order is done when its platform says so", l, "the platform never did")
		}
	case "REFUSED":
		if !l.said["REFUSED "+o.RefusalReason] {
			g.breach("an order is refused when its platform says so", l, "the platform never gave %s", o.RefusalReason)
		}
	case "ABANDONED":
		opened := o.CreateTime
		if l.revived.After(opened) {
			opened = l.revived
		}
		if last.Reason == "TOO_OLD" && last.Time.Sub(opened) < g.maxAge {
			g.breach("an order is given up when it is too old", l, "it was open for %v", last.Time.Sub(opened))
		}
		if last.Reason == "ALREADY_EXISTS" && !l.said["ALREADY_EXISTS"] {
			g.breach("an order is given up when its platform says so", l, "the platform never said that it exists")
		}
	case "CANCELLED":
		if last.Reason == "HOLDER_CHANGED" {
			g.checkChanged(l)
		} else if l.sent > 0 {
			g.breach("what was sent is not taken back", l, "it was sent %d times", l.sent)
		}
	case "QUEUED", "APPEALED":
		// A day for a wait that the platform asked for, one for a hub that is down
		// or paused.
		if age := g.now().Sub(o.OpenTime); age > g.maxAge+48*time.Hour+g.awayFor(l.platform) {
			g.breach("an order that is too old becomes a dead letter", l, "it is %v old", age)
		}
	}
	g.checkHistory(l, o)
}

// awayFor is how long the platform has been suspended.
func (g *ledger) awayFor(platform string) time.Duration {
	var sum time.Duration
	for _, s := range g.away[platform] {
		if s.to.IsZero() {
			s.to = g.now()
		}
		sum += s.to.Sub(s.from)
	}
	return sum
}

// checkChanged: the hub takes an order back when a carrier said that its number
// changed hands.
func (g *ledger) checkChanged(l *life) {
	said := func(c check) bool { return c.change == "HANDS" }
	if l.wish != nil && !slices.ContainsFunc(g.checks[l.wish.person.key()], said) {
		g.breach("an order ends when its number changed hands", l, "no carrier said so")
	}
}

func (g *ledger) checkHistory(l *life, o unbind.Order) {
	const keptFirst, keptLast, kept = 8, 28, 64
	for i := 1; i < len(o.History); i++ {
		a, b := o.History[i-1], o.History[i]
		// Of a long history steps are left out anywhere between the first and the last.
		gap := len(o.History) == kept && i >= keptFirst && i < kept-keptLast
		aside := a.State == b.State && b.Reason == "DISCARDED" && l.discarded
		if !gap && !aside && !direct(a.State.String(), b.State.String(), l.revivals > 0) {
			g.breach("states only move forward", l, "its history has %s after %s", b.State, a.State)
		}
		if b.Time.Before(a.Time) || b.Attempt < a.Attempt {
			g.breach("a history is in order", l, "%s of %v, attempt %d, after %s of %v, attempt %d", b.State, b.Time, b.Attempt, a.State, a.Time, a.Attempt)
		}
	}
	discarded := o.State.String() == "ABANDONED" && o.Discarded
	if discarded && !l.discarded {
		g.breach("a dead letter is discarded by the operator alone", l, "nobody did")
	}
	if n := len(o.History); n > 0 && o.State.String() != "SENDING" && o.History[n-1].State != o.State {
		g.breach("a history ends with the state", l, "%s, but the order is %s", o.History[n-1].State, o.State)
	}
}

// deadLetters holds the list of dead letters against the orders.
func (g *ledger) deadLetters(all, dead []unbind.Order) {
	g.mu.Lock()
	defer g.mu.Unlock()
	want := make(map[string]bool)
	for _, o := range all {
		if o.State.String() == "ABANDONED" && !o.Discarded {
			want[o.ID] = true
		}
	}
	for _, o := range dead {
		if !want[o.ID] {
			g.breach("the list of dead letters is that of the orders given up", g.lives[o.ID], "it is listed as %s", o.State)
		}
		delete(want, o.ID)
	}
	for id := range want {
		g.breach("the list of dead letters is that of the orders given up", g.lives[id], "it is not listed")
	}
}

// audit holds all orders of all persons against the ledger; atEnd says that
// everything had time to end.
func (g *ledger) audit(all []unbind.Order, atEnd bool) {
	found := make(map[string]unbind.Order, len(all))
	for _, o := range all {
		g.told(o)
		found[o.ID] = o
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(g.lives)) {
		l := g.lives[id]
		o, ok := found[id]
		if !ok {
			g.breach("an acknowledged order is found", l, "it is gone")
			continue
		}
		if atEnd && !o.State.Final() {
			g.breach("everything ends", l, "it is %s; next at %v, %d attempts, %d questions", o.State, o.NextTime, o.Attempts, o.Polls)
		}
	}
	if atEnd {
		g.checkUnheard(all)
		g.checkStanding(all)
	}
}

// checkUnheard: an order that no person was told of is one that a person asked for
// and heard nothing about.
func (g *ledger) checkUnheard(all []unbind.Order) {
	for _, o := range all {
		if l := g.lives[o.ID]; l != nil && l.wish != nil {
			continue
		}
		known := slices.ContainsFunc(g.wishes, func(w *wish) bool {
			return w.unknown && w.platform == string(o.Platform) && w.person.subject == o.Subject && slices.Equal(w.refs, slices.Sorted(slices.Values(o.AccountRefs)))
		})
		if !known {
			g.breach("every order was asked for", g.life(o.ID, string(o.Platform)), "%s of %v", o.Platform, o.AccountRefs)
		}
	}
}

// checkStanding: while an order is open that covers the accounts, there is no
// second one of its person at its platform.
func (g *ledger) checkStanding(all []unbind.Order) {
	by := make(map[string][]unbind.Order)
	for _, o := range all {
		k := string(o.Subject[:]) + string(o.Platform)
		by[k] = append(by[k], o)
	}
	for _, list := range by {
		slices.SortFunc(list, func(a, b unbind.Order) int { return a.CreateTime.Compare(b.CreateTime) })
		for i, later := range list {
			for _, o := range list[:i] {
				l := g.lives[o.ID]
				if o.Covers(later.AccountRefs) && o.StateTime.After(later.CreateTime) && (l == nil || l.revivals == 0) && !o.CreateTime.Equal(later.CreateTime) {
					g.breach("an open order stands for a new one", g.lives[later.ID], "%s was open until %v", o.ID, o.StateTime)
				}
			}
		}
	}
}
