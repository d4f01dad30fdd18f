package unbind

import (
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// The limits of an appeal.
const (
	MaxAppeals   = 2
	AppealWindow = 30 * 24 * time.Hour // after the refusal
)

// wasAppealed reports whether the nth appeal was made before, so that this one is a
// repeat, whose first answer was lost. Of the next one, 0, that can't be told.
func (o Order) wasAppealed(nth int) bool { return nth != 0 && o.Appeals >= nth }

// Admits is nil where the order may be appealed by t, or where it was and t changes
// nothing. A store asks in the transaction that applies t.
//
// Errors: those of MayAppeal.
func (o Order) Admits(t Transition) error {
	switch {
	case o.wasAppealed(t.nth), t.nth == 0 && o.State == Appealed:
		return nil
	case t.nth > MaxAppeals:
		return fault.AppealLimit.New()
	case t.nth > o.Appeals+1:
		return fault.NotRefused.New() // nobody has decided on the appeal before
	}
	return o.MayAppeal(t.time)
}

// MayAppeal is nil where the person may appeal against the order's refusal now.
//
// Errors: fault.AlreadyTerminal when it ended otherwise, NotRefused while it is
// open, AppealLimit, AppealTooLate.
func (o Order) MayAppeal(now time.Time) error {
	switch {
	case o.State.Final() && o.State != Refused:
		return fault.AlreadyTerminal.New()
	case o.State != Refused:
		return fault.NotRefused.New()
	case o.Appeals >= MaxAppeals:
		return fault.AppealLimit.New()
	case now.Sub(o.StateTime) > AppealWindow:
		return fault.AppealTooLate.New()
	}
	return nil
}
