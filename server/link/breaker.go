package link

import "time"

// breaker keeps questions from a platform that answers none. It opens when
// nothing but failures came for a while, and then lets one question through now
// and then, whose outcome decides. So a platform that is down costs a probe, not
// every person's deadline, and one that fails in part is asked as before. The
// queue's mutex guards it.
type breaker struct {
	state   breakerState
	failed  int       // failures since the last success
	since   time.Time // of the first of them
	until   time.Time // open: when the next probe may go
	pause   time.Duration
	probing *item // half open: the question that decides
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
	breakAfter  = 10              // failures in a row
	breakSpan   = 2 * time.Second // that they cover: a restart is shorter
	firstRest   = 2 * time.Second
	longestRest = 15 * time.Second
)

// admit reports whether a question may be asked now.
func (b *breaker) admit(it *item, now time.Time) bool {
	switch b.state {
	case closed:
		return true
	case open:
		if now.Before(b.until) {
			return false
		}
		b.state, b.probing = halfOpen, it
		return true
	}
	return false
}

// good notes an answer.
func (b *breaker) good() { *b = breaker{} }

// bad notes a failure of an item and reports whether the breaker opened by it.
func (b *breaker) bad(it *item, now time.Time) bool {
	if b.failed == 0 {
		b.since = now
	}
	b.failed++
	switch {
	case b.state == halfOpen && b.probing == it:
		b.rest(now)
		return true
	case b.state == closed && b.failed >= breakAfter && now.Sub(b.since) >= breakSpan:
		b.rest(now)
		return true
	}
	return false
}

func (b *breaker) rest(now time.Time) {
	b.pause = min(max(2*b.pause, firstRest), longestRest)
	b.state, b.until, b.probing = open, now.Add(b.pause), nil
}

// forget ends a probe that tells nothing: it was withdrawn, or the hub stops.
func (b *breaker) forget(it *item, now time.Time) {
	if b.state == halfOpen && b.probing == it {
		b.state, b.until, b.probing = open, now, nil
	}
}

// hint says that the platform's connector is back: the next question may probe.
func (b *breaker) hint(now time.Time) {
	if b.state == open && b.until.After(now) {
		b.until = now
	}
}
