//go:build chaos

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// figures is what a ledger adds up to.
type figures struct {
	kills, people, taken, repeats, effects, calls, seen, cancelled, moved int
	cutShort                                                              int // orders cancelled for a change of hands after an attempt that a kill cut off
	breaches                                                              []string
}

// breach adds one, unless it was the last one too: who asks again and again is
// told the same again and again.
func (f *figures) breach(format string, args ...any) {
	if b := fmt.Sprintf(format, args...); len(f.breaches) == 0 || f.breaches[len(f.breaches)-1] != b {
		f.breaches = append(f.breaches, b)
	}
}

// life is all that is known of one order.
type life struct {
	person, platform string // empty: it was never acknowledged
	calls, effects   []record
	open             map[int]int // calls under way, by run of the hub
	seen             []record
	applied          int
	cancelled        bool
	listed           bool
}

// last is how it was seen last.
func (l *life) last() record {
	if len(l.seen) == 0 {
		return record{State: "never seen"}
	}
	return l.seen[len(l.seen)-1]
}

// checker holds records against the promises.
type checker struct {
	figures
	orders   map[string]*life
	requests map[string]string // person, request and platform → order
	accounts map[string]string // account → the order that detached it
	counted  map[string]int    // platform and state → the hub's own count
	people   map[string]bool   // who have seen the end of all their orders
}

// check finds every breach of a promise in the records of one hub.
func check(records []record) figures {
	c := &checker{
		orders: make(map[string]*life), requests: make(map[string]string), accounts: make(map[string]string),
		counted: make(map[string]int), people: make(map[string]bool),
	}
	for _, r := range records {
		c.take(r)
	}
	for _, id := range slices.Sorted(maps.Keys(c.orders)) {
		c.ended(id, c.orders[id])
	}
	c.counts()
	c.figures.people = len(c.people)
	return c.figures
}

func (c *checker) take(r record) {
	switch r.What {
	case recKill:
		c.kills++
		return
	case recBreach:
		c.breach("%s", r.Text)
		return
	case recCounted:
		c.counted[r.Platform+" "+r.State] = r.Count
		return
	}
	o := c.orders[r.Order]
	if o == nil {
		o = &life{open: make(map[int]int)}
		c.orders[r.Order] = o
	}
	switch r.What {
	case recTaken:
		c.takeOrder(o, r)
	case recCancelled:
		o.cancelled = true
		c.cancelled++
	case recListed:
		o.listed, c.people[r.Person] = true, true
	case recSeen:
		c.takeSeen(o, r)
	case recBegin, recFinish:
		c.takeCall(o, r)
	case recEffect:
		c.takeEffect(o, r)
	case recApplied:
		o.applied++
	}
}

// takeOrder: a request that is repeated is answered with the same id.
func (c *checker) takeOrder(o *life, r record) {
	k := r.Person + " " + r.Platform
	switch before, again := c.requests[k]; {
	case !again:
		c.taken++
	case before == r.Order:
		c.repeats++
	default:
		c.breach("%s at %s: the repeat of request %s in run %d returned order %s, before it was %s", r.Person, r.Platform, r.Request, r.Run, r.Order, before)
	}
	c.requests[k] = r.Order
	o.person, o.platform = r.Person, r.Platform
}

// takeSeen: states move as docs/states.md allows, a history only grows.
func (c *checker) takeSeen(o *life, r record) {
	c.seen++
	if len(o.seen) > 0 {
		before := o.last()
		if !follows(before.State, r.State) {
			c.breach("order %s: %s in run %d, was %s in run %d", r.Order, r.State, r.Run, before.State, before.Run)
		}
		if !slices.Equal(r.History[:min(len(r.History), len(before.History))], before.History) {
			c.breach("order %s: its history in run %d is %v, was %v in run %d", r.Order, r.Run, r.History, before.History, before.Run)
		}
	}
	o.seen = append(o.seen, r)
}

// rank is the table of docs/states.md, written down anew.
func rank(state string) int {
	switch strings.TrimPrefix(state, "UNBIND_STATE_") {
	case "QUEUED":
		return 0
	case "SENDING":
		return 1
	case "IN_REVIEW", "ACTION_REQUIRED":
		return 2
	case "COMPLETED", "REFUSED", "CANCELLED", "ABANDONED":
		return 4
	}
	return -1
}

// follows reports whether an order may be seen in one state and later in the
// other; moves in between need not have been seen.
func follows(before, after string) bool {
	b, a := rank(before), rank(after)
	return a >= 0 && (before == after || b < 4 && a >= b || b == 1 && a == 0)
}

// takeCall: a run of the hub never has two calls of one order open, and attempts
// are counted upwards.
func (c *checker) takeCall(o *life, r record) {
	if r.What == recFinish {
		o.open[r.Run]--
		return
	}
	c.calls++
	if o.open[r.Run]++; o.open[r.Run] > 1 {
		c.breach("order %s: two calls of run %d are open at %s at once", r.Order, r.Run, r.Platform)
	}
	for _, before := range o.calls {
		if r.Attempt > 0 && before.Attempt > r.Attempt && before.Run <= r.Run {
			c.breach("order %s: attempt %d in run %d after attempt %d in run %d", r.Order, r.Attempt, r.Run, before.Attempt, before.Run)
		}
	}
	o.calls = append(o.calls, r)
}

// takeEffect: no account is detached twice, by whichever order.
func (c *checker) takeEffect(o *life, r record) {
	c.effects++
	o.effects = append(o.effects, r)
	if by, twice := c.accounts[r.Account]; twice {
		c.breach("account %s at %s was detached by order %s and again by order %s", r.Account, r.Platform, by, r.Order)
	}
	c.accounts[r.Account] = r.Order
}

// ended checks an order when all is over.
func (c *checker) ended(id string, o *life) {
	last := o.last()
	state := strings.TrimPrefix(last.State, "UNBIND_STATE_")
	switch {
	case o.person == "":
		c.breach("order %s was never acknowledged, though every request was repeated until it was answered; %d calls, %d effects", id, len(o.calls), len(o.effects))
		return
	case rank(last.State) < 4 || state == "ABANDONED":
		c.breach("order %s of %s at %s has not come to an end: %s", id, o.person, o.platform, last.State)
	case c.people[o.person] && !o.listed:
		c.breach("order %s is not in the list of %s, who was given it", id, o.person)
	}
	if o.listed && c.requests[o.person+" "+o.platform] != id {
		c.breach("order %s is in the list of %s, who was given another one at %s", id, o.person, o.platform)
	}
	c.effectsOf(id, o, state)
	for _, call := range o.calls {
		if f := firstFinal(o.seen); f.Run > 0 && call.Run > f.Run {
			c.breach("order %s was sent to %s in run %d, having been %s in run %d", id, o.platform, call.Run, f.State, f.Run)
		}
	}
	if o.applied > 1 {
		c.breach("order %s: %d reports of COMPLETED moved it", id, o.applied)
	}
}

// effectsOf: one effect of what is completed, none of anything else.
func (c *checker) effectsOf(id string, o *life, state string) {
	n, byHub := len(o.effects), false
	if h := o.last().History; len(h) > 0 {
		byHub = strings.Contains(h[len(h)-1], "HOLDER_CHANGED")
	}
	switch {
	case n > 1:
		c.breach("order %s has %d effects at %s", id, n, o.platform)
	case state == "COMPLETED" && n == 0:
		c.breach("order %s is COMPLETED without an effect at %s", id, o.platform)
	case o.cancelled && state != "CANCELLED":
		c.breach("order %s was cancelled by its person and is %s", id, state)
	case state == "CANCELLED" && byHub && n == 1 && o.effects[0].Run < firstFinal(o.seen).Run:
		// A kill cut the attempt off, so nobody could tell that it had its effect; then
		// the carrier said that the number has another holder.
		c.cutShort++
	case state != "COMPLETED" && n > 0:
		c.breach("order %s is %s and has an effect at %s", id, state, o.platform)
	}
	if state == "CANCELLED" && byHub {
		c.moved++
	}
}

func firstFinal(seen []record) record {
	for _, r := range seen {
		if rank(r.State) == 4 {
			return r
		}
	}
	return record{}
}

// counts: the hub's own count of orders is that of the people.
func (c *checker) counts() {
	want := make(map[string]int)
	for _, o := range c.orders {
		if o.person != "" {
			want[o.platform+" "+strings.TrimPrefix(o.last().State, "UNBIND_STATE_")]++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.counted)) {
		if c.counted[k] != want[k] {
			c.breach("the hub counts %d orders of %s, people have %d", c.counted[k], k, want[k])
		}
	}
}
