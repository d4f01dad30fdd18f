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
