package unbind

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Transition is one move of an order. Only the constructors below make one, so
// that every way an order can move is in this file.
type Transition struct {
	by     actor
	to     State
	time   time.Time // by the hub's clock
	next   time.Time
	reason string
	report platform.Report

	// Of an attempt.
	attempted   time.Time // when the call began; zero where none was made
	spend       bool      // the attempt counts
	polled      bool      // the platform was only asked how it goes
	holderCheck time.Time // when the carrier confirmed the holder; zero where not asked
}

type actor uint8

const (
	byHub actor = iota
	byPlatform
	byPerson
)

// Attempt is what is known of a call to a platform when it is over.
type Attempt struct {
	Began         time.Time
	Ended         time.Time
	Polled        bool      // UnbindStatus rather than Unbind
	HolderChecked time.Time // zero where the carrier was not asked
}

func (a Attempt) transition(to State) Transition {
	return Transition{to: to, time: a.Ended, attempted: a.Began, polled: a.Polled, spend: !a.Polled, holderCheck: a.HolderChecked}
}

// Answered is an attempt to which the platform said where the order stands. next
// is when to ask again if that isn't an end.
func Answered(a Attempt, r platform.Report, next time.Time) Transition {
	t := a.transition(stateOf(r.Stage))
	t.by, t.report, t.reason, t.next = byPlatform, r, r.RefusalReason, next
	return t
}

// Retry is an attempt without a usable answer; the order is tried again at next.
func Retry(a Attempt, code string, next time.Time) Transition {
	t := a.transition(Queued)
	t.reason, t.next = code, next
	return t
}

// Snooze is an attempt that the platform put off; it costs no attempt.
func Snooze(a Attempt, code string, next time.Time) Transition {
	t := Retry(a, code, next)
	t.spend = false
	return t
}

// Abandon gives an order up.
func Abandon(a Attempt, code string) Transition {
	t := a.transition(Abandoned)
	t.reason = code
	return t
}

// HolderChanged ends an order whose person does not hold the number any more.
func HolderChanged(now time.Time) Transition {
	return Transition{to: Cancelled, time: now, reason: "HOLDER_CHANGED"}
}

// HolderUnknown puts an order off because the carrier could not be asked.
func HolderUnknown(now, next time.Time) Transition {
	return Transition{to: Queued, time: now, next: next, reason: "HOLDER_UNCHECKED"}
}

// Reported is what a platform reports by itself.
func Reported(now time.Time, r platform.Report, next time.Time) Transition {
	return Transition{by: byPlatform, to: stateOf(r.Stage), time: now, report: r, reason: r.RefusalReason, next: next}
}

// CancelledByPerson takes an order back.
func CancelledByPerson(now time.Time) Transition {
	return Transition{by: byPerson, to: Cancelled, time: now, reason: "BY_PERSON"}
}

// outcome is the attempt's outcome in one word: the state the platform gave, or
// the code of the failure.
func (t Transition) outcome() string {
	if t.by == byPlatform {
		return t.to.String()
	}
	return t.reason
}

func stateOf(s platform.Stage) State {
	switch s {
	case platform.StageCompleted:
		return Completed
	case platform.StageRefused:
		return Refused
	case platform.StageActionRequired:
		return ActionRequired
	}
	return InReview
}

// Apply moves the order and reports whether its state changed. A transition
// that the rules forbid changes nothing but what is known of the attempt: late,
// repeated and shuffled words of a platform move nothing backwards.
func (o *Order) Apply(t Transition) bool {
	if o.State.Final() {
		return false
	}
	o.recordAttempt(t)
	if !o.allows(t) {
		o.keepAsking(t)
		return false
	}
	changed := o.State != t.to
	o.State = t.to
	o.NextTime = t.next
	if t.to.Final() {
		o.NextTime = time.Time{}
	}
	if t.by == byPlatform {
		o.takeReport(t)
	}
	if changed || (t.to == Queued && t.reason != "") {
		o.StateTime = t.time
		o.step(Step{State: t.to, Time: t.time, Attempt: o.Attempts, Reason: t.reason})
	}
	return changed
}

// allows holds the rules of rank.
func (o *Order) allows(t Transition) bool {
	switch {
	case t.by == byPlatform && t.to.Rank() == o.State.Rank():
		return o.isNews(t)
	case t.by == byPlatform:
		return t.to.Rank() > o.State.Rank()
	case t.to == Abandoned && t.reason == platform.CodeAlreadyExists:
		return true // the platform knows another order by this id: asking on is no use
	}
	// A report may have come in while the hub made up its mind: what the platform
	// has taken, the hub neither tries again nor ends.
	return o.State.Rank() == rankOpen
}

// isNews reports whether a word of equal rank is newer than what is known, by
// the platform's own time: IN_REVIEW and ACTION_REQUIRED alternate, and a late
// page does not replace a newer one. Of two words of one time an answer to the
// hub's question is the later one.
func (o *Order) isNews(t Transition) bool {
	if !t.attempted.IsZero() {
		return !t.report.Time.Before(o.ReportTime)
	}
	return t.report.Time.After(o.ReportTime)
}

// keepAsking renews the next time of an order that the platform has taken and
// that an attempt left where it is.
func (o *Order) keepAsking(t Transition) {
	if !t.attempted.IsZero() && !t.next.IsZero() {
		o.NextTime = t.next
	}
}

func (o *Order) recordAttempt(t Transition) {
	if !t.holderCheck.IsZero() {
		o.HolderChecked = t.holderCheck
	}
	if t.attempted.IsZero() {
		return
	}
	if t.polled {
		o.Polls++
		return
	}
	o.Polls = 0
	o.Sent = true
	if t.spend {
		o.Attempts++
		if o.State == Queued {
			o.step(Step{State: Sending, Time: t.attempted, Attempt: o.Attempts})
		}
	}
}

func (o *Order) takeReport(t Transition) {
	if t.report.Time.After(o.ReportTime) {
		o.ReportTime = t.report.Time
	}
	o.RefusalReason, o.RefusalText, o.ActionURL = t.report.RefusalReason, t.report.RefusalText, t.report.ActionURL
}
