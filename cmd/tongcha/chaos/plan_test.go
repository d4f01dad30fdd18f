//go:build chaos

package chaos

import (
	"maps"
	"sync"
	"time"
)

// moment is a point in the life of a hub or of an order at which a hub is killed.
type moment string

// The moments. At the first three the hub is killed after a time by chance; the
// others are events, and it is killed at the moment itself or up to 2 ms later.
const (
	duringStart     moment = "during start"         // after 0 to 25 ms
	whileServing    moment = "while serving"        // 0 to 150 ms after it serves
	duringStop      moment = "during stop"          // 0 to 12 ms after SIGTERM
	onServing       moment = "it says serving"      // the line in its log
	onMessage       moment = "code on its way"      // the SMS gateway has been called
	onConfirm       moment = "code sent back"       // the confirmation has been written to the socket
	onOrder         moment = "order sent"           // the request for orders has been written to the socket
	onOrdered       moment = "order answered"       // the first byte of its answer has come
	onCancel        moment = "cancellation sent"    // has been written to the socket
	onHolderCheck   moment = "holder asked"         // the carrier has been asked
	onAttempt       moment = "before the effect"    // the platform has the order, nothing is done
	onEffect        moment = "after the effect"     // it is on the platform's disk, no answer has left
	onAnswer        moment = "after the answer"     // the platform has let go of its answer
	onQuestion      moment = "platform asked"       // GetUnbind has come
	onReport        moment = "platform reports"     // just before ReportUnbind is called
	onReported      moment = "report answered"      // the answer to it has come
	onAttemptLogged moment = "attempt in the log"   // the line in the hub's log: Finish is on disk
	unplanned       moment = "nothing came of plan" // the event did not come in time
)

// events are the moments of which each must be hit a few times.
func events() []moment {
	return []moment{
		onServing, onMessage, onConfirm, onOrder, onOrdered, onCancel, onHolderCheck, onAttempt, onEffect, onAnswer,
		onQuestion, onReport, onReported, onAttemptLogged,
	}
}

// plan says how a run of the hub is to end.
type plan struct {
	at    moment
	nth   int           // at which occurrence of the event, from 1
	after time.Duration // after the moment
	calm  bool          // people may prove their numbers meanwhile
	limit time.Duration // when it is killed in any case, counted from its start
}

// next plans the end of the next run: half of them at a time by chance, half at
// the event that had the fewest kills so far.
func (a *arena) next() plan {
	dice, after, nth := a.plans.IntN(100), a.plans.IntN(150), 1+a.plans.IntN(3)
	delay, crowd := time.Duration(a.plans.IntN(int(4*time.Millisecond))), a.waiting.Load()
	p := plan{limit: 700*time.Millisecond + time.Duration(after)*time.Millisecond}
	switch {
	case dice < 12:
		p.at, p.after = duringStart, time.Duration(after)*time.Millisecond/6
	case dice < 40:
		p.at, p.after = whileServing, time.Duration(after)*time.Millisecond
	case dice < 50:
		p.at, p.after = duringStop, time.Duration(after)*time.Millisecond
	default:
		p.at, p.nth, p.after = a.kills.rarest(crowd > 0), nth, max(delay-2*time.Millisecond, 0)
	}
	switch {
	case p.at == onServing, p.at == onCancel:
		p.nth = 1
	case p.at == onMessage, p.at == onConfirm:
		p.calm = true
	case p.at == whileServing && crowd >= 4:
		p.calm, p.after = true, 6*p.after
	case crowd >= 6: // without people nothing would come of the plan
		p.calm, p.limit = true, 2*p.limit
	}
	return p
}

// kills counts the kills of all hubs of a siege.
type kills struct {
	mu      sync.Mutex
	planned map[moment]int
	hits    map[moment]int
}

func newKills() *kills { return &kills{planned: make(map[moment]int), hits: make(map[moment]int)} }

func (k *kills) hit(m moment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hits[m]++
}

// fewest is how many kills the event with the fewest has had.
func (k *kills) fewest() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.hits[onServing]
	for _, m := range events() {
		n = min(n, k.hits[m])
	}
	return n
}

func (k *kills) all() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for m := range maps.Values(k.hits) {
		n += m
	}
	return n
}

// rarest picks the event with the fewest kills; one that was planned often and
// did not come is left for later. Codes are sent only where somebody waits.
func (k *kills) rarest(anybodyWaits bool) moment {
	k.mu.Lock()
	defer k.mu.Unlock()
	var least moment
	score := func(m moment) int { return k.planned[m] + 3*k.hits[m] }
	for _, m := range events() {
		if (m == onMessage || m == onConfirm) && !anybodyWaits {
			continue
		}
		if least == "" || score(m) < score(least) {
			least = m
		}
	}
	k.planned[least]++
	return least
}
