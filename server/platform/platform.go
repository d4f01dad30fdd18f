// Package platform says what the hub knows of a platform and of a carrier, and
// what it can ask them, without saying how they are reached.
package platform

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
)

// ID names a platform, a carrier or a regulator, in certificates as everywhere.
type ID string

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,63}$`)

// ParseID reads an id: 2 to 64 characters of a-z 0-9 . _ -, beginning with a
// letter or digit.
//
// Errors: fault.PlatformIDInvalid.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", fault.PlatformIDInvalid.On("platformId")
	}
	return ID(s), nil
}

// Functions is a set of what a platform offers.
type Functions uint8

// The functions.
const (
	FunctionLookup Functions = 1 << iota
	FunctionUnbind
	FunctionNumberEvents
)

// Has reports whether all of f is in the set.
func (s Functions) Has(f Functions) bool { return s&f == f }

// Names lists the set: "LOOKUP", "UNBIND", "NUMBER_EVENTS".
func (s Functions) Names() []string {
	var out []string
	for i, name := range []string{"LOOKUP", "UNBIND", "NUMBER_EVENTS"} {
		if s&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// UnbindMode is how a platform usually ends an order.
type UnbindMode string

// The unbind modes.
const (
	ModeSync     UnbindMode = "SYNC"
	ModeAsync    UnbindMode = "ASYNC"
	ModeRedirect UnbindMode = "REDIRECT"
)

// Health is what the last probe said.
type Health string

// The states of health.
const (
	HealthUnknown    Health = "UNKNOWN"
	HealthServing    Health = "SERVING"
	HealthNotServing Health = "NOT_SERVING"
)

// Entry is a platform in the catalogue: what an operator entered, plus the
// functions its connector last offered.
type Entry struct {
	ID             ID
	DisplayName    string
	Category       string
	Address        string // HOST:PORT of its connector; "" for one that has not joined
	SelfServiceURL string
	Functions      Functions
	Suspended      bool
	SuspendReason  string
	AddTime        time.Time
	Listing
}

// Listing is what an authority's catalogue file says of a platform beside its
// name and category. The zero value says nothing.
type Listing struct {
	NameEN       string
	WeightMilli  int64     // thousandths of the authority's unit; 0 where unknown
	ObligedSince time.Time // 00:00 in China of the day; zero where it is not obliged to join
	Source       string    // the document that says so
}

// Obliged reports whether the platform is obliged to join at now.
func (l Listing) Obliged(now time.Time) bool {
	return !l.ObligedSince.IsZero() && !l.ObligedSince.After(now)
}

// Joined reports whether the platform is asked.
func (e Entry) Joined() bool { return e.Address != "" && !e.Suspended }

// Info is a joined platform: its entry and what its connector says of itself.
type Info struct {
	Entry
	UnbindMode UnbindMode
	Products   []string
	MaxBatch   int  // at least 1
	Streams    bool // it answers lookups on a stream too
	Health     Health
	Problem    string // why it is not serving, in our words
	Unfit      bool   // it describes itself as another platform, or outside the contract: it is sent nothing
	LastSeen   time.Time
}

// AnswersLookups reports whether the platform is worth asking. One that has not
// said what it offers yet is.
func (i Info) AnswersLookups() bool {
	return !i.Unfit && (i.Functions == 0 || i.Functions.Has(FunctionLookup))
}

// Platform is a joined platform. All methods are safe for concurrent use.
type Platform interface {
	// Info is what is known now. It never blocks.
	Info() Info
	// Ask puts a question. It never blocks; the call is finished exactly once,
	// from any goroutine, at its deadline at the latest.
	Ask(*Call)
	// Withdraw takes a question back: its call is finished as silent, unless an
	// answer is in already. It never blocks, and no other call notices.
	Withdraw(*Call)
	// Unbind sends an order and says where it stands. Errors are *CallError.
	Unbind(context.Context, UnbindOrder) (Report, error)
	// UnbindStatus asks where an order stands. Errors are *CallError.
	UnbindStatus(ctx context.Context, orderID string) (Report, error)
}

// UnbindOrder is an unbind order as a platform sees it.
type UnbindOrder struct {
	OrderID     string
	Number      phone.Number
	AccountRefs []string
	BoundBefore time.Time // zero: account_refs alone decide
	Attempt     int       // from 1
	Appeal      int       // how often the person has appealed; 0 at first
	DueTime     time.Time
}

// Stage is where an order stands at a platform.
type Stage uint8

// The stages.
const (
	StageInReview Stage = iota + 1 // taken, not ended
	StageActionRequired
	StageCompleted
	StageRefused
)

// Report is where an order stands, as the platform says. Text and URL are
// checked and harmless.
type Report struct {
	Stage         Stage
	RefusalReason string // one of RefusalReasons; set where Stage is StageRefused
	RefusalText   string
	ActionURL     string // https; set where Stage is StageActionRequired
	Time          time.Time
	Untimed       bool          // a report whose Time is the hub's: the platform gave none, or one to come
	CheckAfter    time.Duration // 0 where the platform gave none
}

// RefusalReasons lists why a platform may refuse.
func RefusalReasons() []string {
	return []string{
		"HAS_BALANCE", "HAS_DEBT", "ACCOUNT_FROZEN", "LEGAL_HOLD", "IN_DISPUTE", "SOLE_LOGIN", "BOUND_AFTER_HOLDER",
		"RECENTLY_ACTIVE", "IDENTITY_MISMATCH", "NEEDS_USER", "ENTERPRISE_ACCOUNT", "COOLING_OFF", "POLICY", "TECHNICAL",
	}
}

// IsRefusalReason reports whether s is one of RefusalReasons.
func IsRefusalReason(s string) bool { return slices.Contains(RefusalReasons(), s) }

// CallError is a call that gave no usable answer. It never holds a text of the
// other side, which may hold a number.
type CallError struct {
	Code       string        // a gRPC code's name, or MALFORMED
	RetryAfter time.Duration // what the other side asked for; 0 for none
}

// Error is the code.
func (e *CallError) Error() string { return "platform call: " + e.Code }

// The codes the hub treats apart.
const (
	CodeMalformed         = "MALFORMED"
	CodeAlreadyExists     = "ALREADY_EXISTS"
	CodeNotFound          = "NOT_FOUND"
	CodeResourceExhausted = "RESOURCE_EXHAUSTED"
	CodeUnavailable       = "UNAVAILABLE"
	CodeDeadlineExceeded  = "DEADLINE_EXCEEDED"
)

// Attestation is a carrier's answer about a holder.
type Attestation uint8

// The attestations. The zero value is unknown, so that forgetting to ask is
// never taken for a match.
const (
	AttestUnknown Attestation = iota
	AttestMatch
	AttestMismatch
)

// HolderChange is a carrier's answer about a change of hands.
type HolderChange uint8

// The answers. The zero value is no data.
const (
	ChangeNoData HolderChange = iota
	ChangeNone
	ChangeHands
)

// Carrier attests holders. All methods are safe for concurrent use; errors mean
// that it could not be asked, and are *CallError.
type Carrier interface {
	// Attest compares a suffix with the holder's and says since when a matching
	// holder has the number.
	Attest(context.Context, phone.Number, phone.IDSuffix) (Attestation, time.Time, error)
	// CheckHolder tells whether the number changed hands after since, and up to
	// when the carrier's data reaches (zero where it doesn't say).
	CheckHolder(ctx context.Context, n phone.Number, since time.Time) (HolderChange, time.Time, error)
}
