package unbind

import "time"

// breaker keeps orders from a platform that gives no answer. It opens when a few
// calls in a row came to nothing and then lets one through now and then, whose
// outcome decides. So a platform that is down costs a probe, and its orders wait
// without an attempt and without a write. Times are of the process (time.Now),
// which no change of the clock moves. The dispatcher's mutex guards it.
type breaker struct {
	state   breakerState
	failed  int       // calls without an answer since the last answer
	since   time.Time // of the first of them
	until   time.Time // open: when the next probe may go
	pause   time.Duration
	probing string // half open: the order whose call decides
}

type breakerState uint8

const (
	closed breakerState = iota
	open
	halfOpen
)

// String is the state's name as operators see it.
func (s breakerState) String() string {
	return [...]string{"CLOSED", "OPEN", "HALF_OPEN"}[s]
}

const (
	breakAfter  = 3 // calls in a row without an answer
	firstRest   = time.Second
	longestRest = 5 * time.Minute
	// longestHint bounds how long a platform may keep all its orders waiting by
	// saying that it is away until then.
	longestHint = time.Hour
)

// admits reports whether a call may begin now.
func (b *breaker) admits(now time.Time) bool {
	return b.state == closed || b.state == open && !now.Before(b.until)
}

// begin notes that the order's call begins, which is the probe where the breaker
// is open.
func (b *breaker) begin(order string) {
	if b.state == open {
		b.state, b.probing = halfOpen, order
	}
}

// good notes an answer, whatever it says.
func (b *breaker) good() { *b = breaker{} }

// bad notes that the order's call gave no answer, and how long the platform says
// that it will be away; 0 where it doesn't. It reports whether the breaker opened
// by it.
func (b *breaker) bad(order string, now time.Time, away time.Duration) bool {
	if b.failed == 0 {
		b.since = now
	}
	b.failed++
	probed := b.state == halfOpen && b.probing == order
	if !probed && (b.state != closed || b.failed < breakAfter && away == 0) {
		return false
	}
	first := b.state == closed
	b.pause = min(max(2*b.pause, firstRest), longestRest)
	b.state, b.until, b.probing = open, now.Add(max(b.pause, min(away, longestHint))), ""
	return first
}

// forget ends a probe that tells nothing: its order was not sent, or the hub
// stops. The next order may probe at once.
func (b *breaker) forget(order string, now time.Time) {
	if b.state == halfOpen && b.probing == order {
		b.state, b.until, b.probing = open, now, ""
	}
}

// hint says that the platform's connector is back: the next order may probe.
func (b *breaker) hint(now time.Time) {
	if b.state == open && b.until.After(now) {
		b.until = now
	}
}
