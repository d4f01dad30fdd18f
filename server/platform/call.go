package platform

import (
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/phone"
)

// State is what is known about one platform in a lookup, numbered as
// tongcha.hub.v1.AnswerState.
type State uint8

// The states. A platform gives Bound, NotBound, NoData or Silent.
const (
	Bound State = iota + 1
	NotBound
	NoData
	Pending
	Silent
	NotJoined
	NotAsked
	Withheld
)

// Answered reports whether the platform itself said something.
func (s State) Answered() bool { return s == Bound || s == NotBound || s == NoData }

// Period places an account before or since the holder, numbered as
// tongcha.connector.v1.AccountPeriod.
type Period uint8

// The periods.
const (
	BeforeHolder Period = iota + 1
	SinceHolder
	PeriodUnknown
)

// Account is one bound account.
type Account struct {
	Ref     string
	Product string
	Period  Period
}

// Answer is a platform's answer to a question, checked against the contract.
type Answer struct {
	State      State
	Accounts   []Account
	AnswerTime time.Time
	Malformed  bool          // the platform answered outside the contract; State is Silent
	Took       time.Duration // from Ask to the answer
}

// Call is one question to one platform. Its exported fields are set before Ask
// and not changed after.
type Call struct {
	Number      phone.Number
	HolderSince time.Time // zero where not attested
	Deadline    time.Time
	// Done is called exactly once, after Answer is set, from any goroutine. It
	// must not block.
	Done func(*Call)
	// Row is the asker's own mark.
	Row int
	// Trace is the W3C trace context the question belongs to; "" where nothing is
	// traced.
	Trace string
	// Ticket is the mark of the Platform that was asked, and of nobody else.
	Ticket any

	answer   Answer
	finished atomic.Bool
}

// Finish sets the answer and calls Done. Only the first of several calls has an
// effect; it reports whether it was the first.
func (c *Call) Finish(a Answer) bool {
	if !c.finished.CompareAndSwap(false, true) {
		return false
	}
	c.answer = a
	c.Done(c)
	return true
}

// Finished reports whether the call has ended. Its answer may be on its way to
// Done.
func (c *Call) Finished() bool { return c.finished.Load() }

// Answer is the answer; valid from within Done on.
func (c *Call) Answer() Answer { return c.answer }
