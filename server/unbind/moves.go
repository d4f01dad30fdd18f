package unbind

import "slices"

// Actor is who moves an order.
type Actor string

// The actors.
const (
	ByHub      Actor = "the hub"
	ByPlatform Actor = "the platform"
	ByPerson   Actor = "the person"
	ByOperator Actor = "the operator"
)

// Cause is why an order moves; each has a constructor of its name in
// transition.go.
type Cause string

// The causes.
const (
	CauseAnswered      Cause = "Answered"
	CauseReported      Cause = "Reported"
	CauseRetry         Cause = "Retry"
	CauseSnooze        Cause = "Snooze"
	CauseHolderUnknown Cause = "HolderUnknown"
	CauseAbandon       Cause = "Abandon"
	CauseDisowned      Cause = "Disowned"
	CauseHolderChanged Cause = "HolderChanged"
	CauseForgotten     Cause = "Forgotten"
	CauseCancelled     Cause = "CancelledByPerson"
	CauseAppealed      Cause = "AppealedByPerson"
	CauseReplayed      Cause = "Replayed"
	CauseDiscarded     Cause = "Discarded"
)

// Move is a row of the state machine: for this cause, by this actor, an order
// may go from any of From to any of To. Where To is empty it stays where it is.
type Move struct {
	Cause    Cause
	By       Actor
	From, To []State
	Spends   bool // an attempt is spent
}

// Moves is the state machine: whatever isn't in it does not happen. docs/states.md
// shows it, and a test holds the two together. SENDING isn't in it, since it is a
// lease and never on disk.
func Moves() []Move {
	waiting, open := []State{Queued, Appealed}, []State{Queued, Appealed, InReview, ActionRequired}
	said := []State{InReview, ActionRequired, Completed, Refused}
	return []Move{
		{CauseAnswered, ByPlatform, open, said, true},
		{CauseReported, ByPlatform, open, said, false},
		{CauseRetry, ByHub, waiting, nil, true},
		{CauseSnooze, ByHub, waiting, nil, false},
		{CauseHolderUnknown, ByHub, waiting, nil, false},
		{CauseAbandon, ByHub, waiting, []State{Abandoned}, true},
		{CauseDisowned, ByHub, open, []State{Abandoned}, true},
		{CauseHolderChanged, ByHub, waiting, []State{Cancelled}, false},
		{CauseForgotten, ByHub, []State{InReview, ActionRequired}, []State{Cancelled}, false},
		{CauseCancelled, ByPerson, []State{Queued}, []State{Cancelled}, false},
		{CauseAppealed, ByPerson, []State{Refused}, []State{Appealed}, false},
		{CauseReplayed, ByOperator, []State{Abandoned}, []State{Queued}, false},
		{CauseDiscarded, ByOperator, []State{Abandoned}, nil, false},
	}
}

// machine is Moves by cause.
var machine = func() map[Cause]Move {
	m := make(map[Cause]Move)
	for _, move := range Moves() {
		m[move.Cause] = move
	}
	return m
}()

// leads reports whether the machine lets the cause move an order from one state
// to the other.
func (c Cause) leads(from, to State) bool {
	m := machine[c]
	if !slices.Contains(m.From, from) {
		return false
	}
	return slices.Contains(m.To, to) || len(m.To) == 0 && from == to
}
