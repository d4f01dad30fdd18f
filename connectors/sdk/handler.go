package sdk

import (
	"context"
	"errors"
	"time"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Handler is a platform's own knowledge of its accounts. Its methods are called
// from several goroutines at once.
type Handler interface {
	// Lookup tells which accounts are bound to a number. A number nobody knows
	// is an answer, Found(), and not an error.
	//
	// The context ends when the answer would come too late; return soon after.
	// An error, a panic or an answer outside the limits of the contract makes
	// this one item NOT_IN_TIME, never "no accounts". When no item of a
	// LookupBindings call could be answered and an error carries the gRPC code
	// UNAVAILABLE or RESOURCE_EXHAUSTED, the whole call fails with that code; a
	// stream goes on in any case. The context also ends when the hub withdraws the
	// question; what is returned after that goes nowhere. TraceParent has the trace
	// it belongs to.
	Lookup(ctx context.Context, s Subject) (Answer, error)
}

// Unbinder is a Handler that detaches numbers from accounts.
type Unbinder interface {
	// Unbind carries an order out: it takes the number off the accounts and
	// leaves the accounts themselves alone. It runs once per order id, even when
	// the hub repeats the order or hangs up meanwhile; the context ends after
	// Config.UnbindTimeout or when the server stops.
	//
	// An order that was refused runs once more for each appeal of the person, with
	// Order.Appeal one higher: decide anew then. Returning the refusal again is an
	// answer, too.
	//
	// It runs again for the same order after it returned an error, and after a
	// crash before its outcome was recorded, so an account that is detached
	// already counts as done. Of an error the hub gets the gRPC codes UNAVAILABLE,
	// RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED and ABORTED, with RetryInfo, and
	// INTERNAL for everything else; never the text.
	Unbind(ctx context.Context, o Order) (Outcome, error)
}

// UnbindStatuser is an Unbinder whose orders end later.
type UnbindStatuser interface {
	// UnbindStatus tells where an order stands that was not final when last
	// seen. It returns ErrUnknownOrder for an order that was never taken; the
	// hub then sends it again.
	UnbindStatus(ctx context.Context, orderID string) (Outcome, error)
}

// NumberEventHandler is a Handler that wants to hear what happens to numbers.
type NumberEventHandler interface {
	// NumberEvent takes one event. Events of one call come one after another,
	// in their order. Repeats of the last few thousand event ids are answered
	// without a call; an older repeat, or one after a restart, comes again. An
	// error asks the hub to send the event again. Return soon after the context
	// has ended: the server waits for it before it stops.
	NumberEvent(ctx context.Context, e NumberEvent) (EventOutcome, error)
}

// ErrUnknownOrder says that an order was never taken.
var ErrUnknownOrder = errors.New("unknown order")

// Subject is one number to look up.
type Subject struct {
	PhoneNumber string    // E.164, "+86" and 11 digits
	HolderSince time.Time // since when the asking person holds it; zero if not given
	Synthetic   bool      // a probe: answer as usual, count it nowhere
}

// Answer is what a platform knows of a number; make one with Found or NoData.
// The zero Answer is not an answer and counts as an error.
type Answer struct {
	state    connectorv1.BindingState
	accounts []Account
	readAt   time.Time
}

// Found answers with the accounts bound to the number, at most 50, or with
// "none" when it is given none.
func Found(accounts ...Account) Answer {
	state := connectorv1.BindingState_BINDING_STATE_BOUND
	if len(accounts) == 0 {
		state = connectorv1.BindingState_BINDING_STATE_NOT_BOUND
	}
	return Answer{state: state, accounts: accounts, readAt: time.Now()}
}

// NoData answers that the platform can't tell for this number.
func NoData() Answer {
	return Answer{state: connectorv1.BindingState_BINDING_STATE_NO_DATA, readAt: time.Now()}
}

// ReadAt returns the answer with the time at which its records were read, for
// platforms that answer from a copy.
func (a Answer) ReadAt(t time.Time) Answer {
	a.readAt = t
	return a
}

// Account is one account bound to a number.
type Account struct {
	// Ref is stable for the account and opaque: 1 to 64 bytes of printable
	// ASCII that tell nothing about the person. It comes back in Order.
	Ref string
	// Product is which of the platform's products it belongs to, at most 64
	// characters; may be empty.
	Product string
	// BoundAt is when the number was bound, or the last time its holder proved
	// to have it in hand; zero if unknown. It never leaves the connector: only
	// the period computed from it does.
	BoundAt time.Time
}

// Period places a binding before or after the day the asking person got the
// number. It is BEFORE_HOLDER only when both times are known and boundAt is the
// earlier one; a binding of the very same instant is the person's own.
func Period(boundAt, holderSince time.Time) connectorv1.AccountPeriod {
	switch {
	case boundAt.IsZero() || holderSince.IsZero():
		return connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN
	case boundAt.Before(holderSince):
		return connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER
	default:
		return connectorv1.AccountPeriod_ACCOUNT_PERIOD_SINCE_HOLDER
	}
}

// Order is an unbind order.
type Order struct {
	ID          string
	PhoneNumber string   // E.164
	AccountRefs []string // the accounts to detach, 1 to 50
	// BoundBefore, unless zero, protects accounts: those bound at that time or
	// later stay untouched even when AccountRefs names them. See Covers.
	BoundBefore time.Time
	Reason      connectorv1.UnbindReason
	Attempt     int       // the hub's count, from 1; only for logs
	Appeal      int       // how often the person has appealed against a refusal; 0 at first
	Due         time.Time // after that the order is reported as overdue
}

// Covers reports whether an account bound at that time may be detached by the
// order. An account whose time is unknown is not covered once BoundBefore is set.
func (o Order) Covers(boundAt time.Time) bool {
	return o.BoundBefore.IsZero() || (!boundAt.IsZero() && boundAt.Before(o.BoundBefore))
}

// NumberEvent is something that happened to a number.
type NumberEvent struct {
	ID          string
	PhoneNumber string // E.164
	Type        connectorv1.NumberEventType
	Time        time.Time
}

// EventOutcome is what became of an event.
type EventOutcome = connectorv1.NumberEventOutcome

// The outcomes a handler chooses from.
const (
	EventApplied  = connectorv1.NumberEventOutcome_NUMBER_EVENT_OUTCOME_APPLIED
	EventIgnored  = connectorv1.NumberEventOutcome_NUMBER_EVENT_OUTCOME_IGNORED
	EventRetry    = connectorv1.NumberEventOutcome_NUMBER_EVENT_OUTCOME_RETRY
	EventRejected = connectorv1.NumberEventOutcome_NUMBER_EVENT_OUTCOME_REJECTED
)
