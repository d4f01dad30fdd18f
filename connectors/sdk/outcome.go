package sdk

import (
	"errors"
	"net/url"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// UnbindState is where an order stands at the platform.
type UnbindState = connectorv1.UnbindState

// The states, in the order in which they can follow one another.
const (
	StateAccepted       = connectorv1.UnbindState_UNBIND_STATE_ACCEPTED
	StateInReview       = connectorv1.UnbindState_UNBIND_STATE_IN_REVIEW
	StateActionRequired = connectorv1.UnbindState_UNBIND_STATE_ACTION_REQUIRED
	StateCompleted      = connectorv1.UnbindState_UNBIND_STATE_COMPLETED
	StateRefused        = connectorv1.UnbindState_UNBIND_STATE_REFUSED
)

// RefusalReason is why an order is refused.
type RefusalReason = connectorv1.RefusalReason

// The reasons.
const (
	HasBalance        = connectorv1.RefusalReason_REFUSAL_REASON_HAS_BALANCE
	HasDebt           = connectorv1.RefusalReason_REFUSAL_REASON_HAS_DEBT
	AccountFrozen     = connectorv1.RefusalReason_REFUSAL_REASON_ACCOUNT_FROZEN
	LegalHold         = connectorv1.RefusalReason_REFUSAL_REASON_LEGAL_HOLD
	InDispute         = connectorv1.RefusalReason_REFUSAL_REASON_IN_DISPUTE
	SoleLogin         = connectorv1.RefusalReason_REFUSAL_REASON_SOLE_LOGIN
	BoundAfterHolder  = connectorv1.RefusalReason_REFUSAL_REASON_BOUND_AFTER_HOLDER
	RecentlyActive    = connectorv1.RefusalReason_REFUSAL_REASON_RECENTLY_ACTIVE
	IdentityMismatch  = connectorv1.RefusalReason_REFUSAL_REASON_IDENTITY_MISMATCH
	NeedsUser         = connectorv1.RefusalReason_REFUSAL_REASON_NEEDS_USER
	EnterpriseAccount = connectorv1.RefusalReason_REFUSAL_REASON_ENTERPRISE_ACCOUNT
	CoolingOff        = connectorv1.RefusalReason_REFUSAL_REASON_COOLING_OFF
	Policy            = connectorv1.RefusalReason_REFUSAL_REASON_POLICY
	Technical         = connectorv1.RefusalReason_REFUSAL_REASON_TECHNICAL
)

// Outcome is where an order stands; Completed, Refused, Accepted, InReview and
// ActionRequired make one.
type Outcome struct {
	State  UnbindState
	Reason RefusalReason // of a refusal
	Text   string        // of a refusal, for the person; at most 200 characters, no personal data
	URL    string        // of an action; https, at most 512 bytes
	Time   time.Time     // when the state was reached; the SDK fills a zero in
	// CheckAfter hints when asking again is worth while, for states that are
	// not final; 0 leaves it to the hub.
	CheckAfter time.Duration
}

// Completed says that none of the accounts is bound to the number any more.
func Completed() Outcome { return Outcome{State: StateCompleted} }

// Refused says that the platform won't do it, and why. It is final unless the
// person appeals.
func Refused(reason RefusalReason, text string) Outcome {
	return Outcome{State: StateRefused, Reason: reason, Text: text}
}

// Accepted says that the order was taken and work has not begun.
func Accepted() Outcome { return Outcome{State: StateAccepted} }

// InReview says that the order is being looked into.
func InReview() Outcome { return Outcome{State: StateInReview} }

// ActionRequired says that the person has to go on at an https page.
func ActionRequired(url string) Outcome {
	return Outcome{State: StateActionRequired, URL: url}
}

// Final reports whether the order can't change any more, but for an appeal
// against a refusal.
func (o Outcome) Final() bool { return rank(o.State) == 3 }

// rank orders states: a lower one never follows a higher one.
func rank(s UnbindState) int {
	switch s {
	case StateAccepted:
		return 1
	case StateInReview, StateActionRequired:
		return 2
	case StateCompleted, StateRefused:
		return 3
	default:
		return 0
	}
}

// check tells what breaks the contract, without repeating any of it.
func (o Outcome) check() error {
	switch {
	case rank(o.State) == 0:
		return errors.New("outcome without a state")
	case o.State == StateRefused && !knownReason(o.Reason):
		return errors.New("refusal without a reason")
	case utf8.RuneCountInString(o.Text) > 200 || !utf8.ValidString(o.Text):
		return errors.New("refusal text over 200 characters or not UTF-8")
	case o.State == StateActionRequired && !httpsURL(o.URL):
		return errors.New("action without an https URL of at most 512 bytes")
	}
	return nil
}

func knownReason(r RefusalReason) bool {
	return r >= HasBalance && r <= Technical
}

func httpsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= 512 && u.Scheme == "https" && u.Host != "" && u.User == nil
}

// proto leaves out fields that don't belong to the state.
func (o Outcome) proto() *connectorv1.UnbindResult {
	r := &connectorv1.UnbindResult{State: o.State}
	switch o.State {
	case StateRefused:
		r.RefusalReason, r.RefusalText = o.Reason, o.Text
	case StateActionRequired:
		r.ActionUrl = o.URL
	}
	if !o.Time.IsZero() {
		r.StateTime = timestamppb.New(o.Time)
	}
	if o.CheckAfter > 0 && !o.Final() {
		r.CheckAfter = durationpb.New(o.CheckAfter)
	}
	return r
}
