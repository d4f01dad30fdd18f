// Package lookup asks every joined platform which accounts are bound to a
// number and keeps what they answered.
package lookup

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// Lookup is a question to the platforms and what they answered: one row for
// every catalogued platform, ordered by id.
type Lookup struct {
	ID          string
	Subject     phone.Subject
	HolderSince time.Time // zero where not attested
	CreateTime  time.Time
	FinalBy     time.Time
	Complete    bool
	Revision    int // grows with every change, from 1
	Rows        []Row

	// Number is there only as long as late answers are awaited, or their message
	// is owed.
	Number phone.Number
	// WakeTime is when the hub looks at the lookup as a whole again: to settle it
	// if it crashed meanwhile, to send the message, or to give up. Zero for never.
	WakeTime time.Time
}

// Row is what is known about one platform.
type Row struct {
	Platform       platform.ID
	DisplayName    string
	Category       string
	Functions      platform.Functions
	SelfServiceURL string
	State          platform.State
	Accounts       []platform.Account
	AnswerTime     time.Time

	Reasks    int       // how often it was asked again in vain
	ReaskTime time.Time // when a silent platform is asked again
}

// Counts says how many platforms were asked, and how many of them answered or
// stayed silent.
func (l Lookup) Counts() (asked, answered, silent int) {
	for _, r := range l.Rows {
		switch {
		case r.State.Answered():
			asked, answered = asked+1, answered+1
		case r.State == platform.Silent:
			asked, silent = asked+1, silent+1
		case r.State == platform.Pending:
			asked++
		}
	}
	return asked, answered, silent
}

// settled is the lookup as a hub shows it that no longer runs it: what was
// pending when that hub stopped is silent. The revision is above every one that
// was shown before.
func (l Lookup) settled() Lookup {
	if l.Complete {
		return l
	}
	rows := make([]Row, len(l.Rows))
	for i, r := range l.Rows {
		if r.State == platform.Pending {
			r.State = platform.Silent
		}
		rows[i] = r
	}
	l.Rows, l.Complete, l.Revision = rows, true, l.Revision+len(rows)+1
	return l
}

// Limits bounds lookups. The zero value of a count means no limit.
type Limits struct {
	PlatformDeadline time.Duration // a platform's answer counts until then
	FinalAfter       time.Duration // the lookup does not change after that
	KeepAfterFinal   time.Duration // and is forgotten after that
	PerSession       int
	PerNumberDay     int

	// ReaskAfter is when a silent platform is first asked again; the gaps double
	// from there up to ReaskEvery. 0 asks nobody again.
	ReaskAfter         time.Duration
	ReaskEvery         time.Duration
	ReasksPerSecond    int // questions asked again, per platform
	ReasksAtOnce       int // the same, unanswered
	LateMessagesPerDay int // messages about late answers, per number and 24 h
}

// DefaultLimits are those of production.
func DefaultLimits() Limits {
	return Limits{
		PlatformDeadline: 2500 * time.Millisecond, FinalAfter: 24 * time.Hour, KeepAfterFinal: 24 * time.Hour,
		PerSession: 10, PerNumberDay: 30,
		ReaskAfter: 30 * time.Second, ReaskEvery: time.Hour, ReasksPerSecond: 5, ReasksAtOnce: 16, LateMessagesPerDay: 3,
	}
}

// Admission is what Create checks and counts in the transaction that records
// the lookup.
type Admission struct {
	SessionKey  [32]byte
	NumberIndex phone.Index
	RequestKey  [32]byte // zero: the caller gave no request id
	BodyDigest  [32]byte
	Now         time.Time
	ForgetTime  time.Time // when the lookup is purged
	Limits      Limits
}

// Store keeps lookups. Every method is one transaction and durable when it
// returns.
type Store interface {
	// Create records a new lookup and counts it. A repeated request returns the
	// id of the lookup it made and counts nothing.
	// Errors: fault.LookupRate, fault.RequestIDReused, fault.SessionInvalid.
	Create(context.Context, Lookup, Admission) (id string, err error)
	// Merge replaces what is known of a lookup, unless the store has the same or
	// a later revision. A lookup that is gone stays gone.
	Merge(context.Context, Lookup) error
	// Get returns the subject's lookup. Errors: fault.LookupNotFound.
	Get(ctx context.Context, s phone.Subject, id string) (Lookup, error)
	// DueReasks returns the lookups whose time has come, platform by platform,
	// oldest first, and when to call again: the earliest time at which something
	// is due that was not returned, now if it is due already, zero for none.
	// Platforms without room are passed over and say nothing about that time.
	DueReasks(context.Context, DueRequest) ([]Due, time.Time, error)
	// MergeLate applies a round to the lookup as the store has it and returns
	// what came of it; the zero Lookup where it is gone.
	MergeLate(context.Context, Round) (Lookup, error)
	// ClaimMessage reports whether the message that a lookup owes may be sent,
	// counts it, and forgets the number: of all calls for one lookup at most one
	// is told true, whatever becomes of the message.
	ClaimMessage(context.Context, Message) (bool, error)
}
