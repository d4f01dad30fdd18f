// Package unbind takes a person's unbind orders and brings each of them to an
// end at its platform.
package unbind

import (
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// State is where an order stands, numbered as tongcha.hub.v1.UnbindState.
// docs/states.md has the table of who moves an order and what a crash leaves.
type State uint8

// The states.
const (
	// Queued: on disk, waits for its next attempt. Made by Enqueue and by a
	// replay; an attempt that gave no answer leaves it here. A crash leaves it as
	// it is.
	Queued State = iota + 1
	// Sending: an attempt is under way. It is a lease in memory; the disk says
	// Queued or Appealed, so after a crash the order is sent again under the same
	// id.
	Sending
	// InReview: the platform took the order. Moved by its answer, its report or
	// the hub's question; a crash leaves it to be asked about again.
	InReview
	// ActionRequired: the person has to go on at the platform's page. As InReview.
	ActionRequired
	// Completed: final. Moved by the platform's answer or report.
	Completed
	// Refused: final unless appealed. Moved by the platform's answer or report.
	Refused
	// Abandoned: final unless replayed. Moved by the hub when the order is too
	// old or the platform breaks the contract.
	Abandoned
	// Cancelled: final. Moved by the person before the first attempt, or by the
	// hub when the number changed hands.
	Cancelled
	// Appealed: a refusal that is open again.
	Appealed
)

var stateNames = [...]string{"", "QUEUED", "SENDING", "IN_REVIEW", "ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED", "APPEALED"}

// String is the state's name, such as "QUEUED".
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return ""
	}
	return stateNames[s]
}

// ParseState reads a name; false for none.
func ParseState(name string) (State, bool) {
	i := slices.Index(stateNames[:], name)
	return State(max(i, 0)), i > 0
}

// Rank orders the states. A platform's word never lowers it and never leaves
// the highest; moves has every way.
func (s State) Rank() int {
	switch s {
	case Queued, Appealed:
		return rankOpen
	case Sending:
		return 1
	case InReview, ActionRequired:
		return 2
	}
	return rankFinal
}

const (
	rankOpen  = 0 // nothing is known of the platform yet
	rankFinal = 4
)

// Final reports whether the order has ended.
func (s State) Final() bool { return s.Rank() == rankFinal }

// Order is one unbind order: one platform, one person, some accounts.
type Order struct {
	ID          string
	Platform    platform.ID
	Subject     phone.Subject
	NumberIndex phone.Index
	Number      phone.Number
	AccountRefs []string
	BoundBefore time.Time // accounts bound at this time or later stay; zero where unattested
	CreateTime  time.Time
	OpenTime    time.Time // since when it is open: taken, appealed or replayed
	DueTime     time.Time

	State         State
	StateTime     time.Time
	Attempts      int       // times it was sent
	Polls         int       // times in a row the platform was asked how it goes
	NextTime      time.Time // when the hub acts on it next; zero once it has ended
	HolderChecked time.Time // when the carrier last said that the number is the person's
	ReportTime    time.Time // the platform's time of the last change between states of equal rank
	Run           int64     // which run of the store took it
	Sent          bool      // an attempt was made, also one that cost none
	Appeals       int       // how often the person appealed
	AppealedOver  time.Time // the platform's time of the refusal appealed last: its reports up to then are void
	Discarded     bool      // a dead letter that an operator put aside
	Note          string    // why, in the operator's words
	RefusalReason string
	RefusalText   string
	ActionURL     string
	History       []Step
}

// Step is one step in the life of an order.
type Step struct {
	State   State
	Time    time.Time
	Attempt int
	Reason  string        // one word: an outcome, a refusal reason, a cause
	Took    time.Duration // of the attempt that ended with this step; 0 where none did
}

// Overdue reports whether the order is open and past its due time.
func (o Order) Overdue(now time.Time) bool { return !o.State.Final() && now.After(o.DueTime) }

// maxSteps bounds the history of an order that is retried for weeks: the first
// steps and the newest are kept, and of those between them some that are spread
// over the time, so that it still shows for how long it went on.
const (
	maxSteps  = 64
	keepFirst = 8
	keepLast  = 28
)

// step appends to the history.
func (o *Order) step(s Step) {
	if len(o.History) >= maxSteps {
		i := closest(o.History[keepFirst-1 : len(o.History)-keepLast+1])
		o.History = slices.Delete(slices.Clone(o.History), keepFirst-1+i, keepFirst+i)
	}
	o.History = append(o.History, s)
}

// closest is the inner step whose neighbours are the least apart.
func closest(steps []Step) int {
	best := 1
	for i := 2; i < len(steps)-1; i++ {
		if steps[i+1].Time.Sub(steps[i-1].Time) < steps[best+1].Time.Sub(steps[best-1].Time) {
			best = i
		}
	}
	return best
}

// New is a fresh order.
func New(id string, now, due time.Time, b Order) Order {
	b.ID, b.CreateTime, b.OpenTime, b.DueTime = id, now, now, due
	b.State, b.StateTime, b.NextTime = Queued, now, now
	b.History = []Step{{State: Queued, Time: now}}
	return b
}
