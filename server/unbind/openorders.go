package unbind

import (
	"slices"

	"github.com/tongcha/tongcha/server/platform"
)

// OpenOrderQuery chooses open orders for an operator. The zero value of a field
// chooses all.
type OpenOrderQuery struct {
	Platform platform.ID
	State    State
	Overdue  bool
	After    string // where the page before ended
	Limit    int    // at most so many
}

// LastOutcome is what came of the order last, in one word; "" before its first
// attempt has ended.
func (o Order) LastOutcome() string {
	for _, s := range slices.Backward(o.History) {
		switch {
		case s.Reason != "":
			return s.Reason
		case s.State.Rank() > Sending.Rank():
			return s.State.String()
		}
	}
	return ""
}

// EndReason is why the order ended, in one word; "" for one that is open. That a
// dead letter was discarded is not why it is one.
func (o Order) EndReason() string {
	for _, s := range slices.Backward(o.History) {
		if o.State.Final() && s.State == o.State && s.Reason != reasonDiscarded {
			return s.Reason
		}
	}
	return ""
}
