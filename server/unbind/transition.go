package unbind

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Transition is one move of an order. Only the constructors below make one, and
// Moves says which states each may lead out of, so that every way an order can
// move is in these two files.
type Transition struct {
	cause  Cause
	to     State // 0: it stays where it is
	time   time.Time
	next   time.Time
	due    time.Time // of an appeal
	reason string
	note   string // of a discard
	report platform.Report

	// Of an attempt.
	attempted   time.Time // when the call began; zero where none was made
	polled      bool      // the platform was only asked how it goes
	appeal      int       // how often the person had appealed when it was made
	holderCheck time.Time // when the carrier confirmed the holder; zero where not asked
}

// Attempt is what is known of a call to a platform when it is over.
type Attempt struct {
	Began         time.Time
	Ended         time.Time
	Polled        bool      // UnbindStatus rather than Unbind
	Appeal        int       // of the order that the call was made for
	HolderChecked time.Time // zero where the carrier was not asked
}

func (a Attempt) transition(c Cause, to State) Transition {
	return Transition{cause: c, to: to, time: a.Ended, attempted: a.Began, polled: a.Polled, appeal: a.Appeal, holderCheck: a.HolderChecked}
}

// Answered is an attempt to which the platform said where the order stands. next
// is when to ask again if that isn't an end.
func Answered(a Attempt, r platform.Report, next time.Time) Transition {
	t := a.transition(CauseAnswered, stateOf(r.Stage))
	t.report, t.reason, t.next = r, r.RefusalReason, next
	return t
}

// Retry is an attempt without a usable answer; the order is tried again at next.
func Retry(a Attempt, code string, next time.Time) Transition {
	t := a.transition(CauseRetry, 0)
	t.reason, t.next = code, next
	return t
}

// Snooze is an attempt that the platform put off; it costs no attempt.
func Snooze(a Attempt, code string, next time.Time) Transition {
	t := Retry(a, code, next)
	t.cause = CauseSnooze
	return t
}

// Abandon gives up an order that no platform has taken.
func Abandon(a Attempt, code string) Transition {
	t := a.transition(CauseAbandon, Abandoned)
	t.reason = code
	return t
}

// Disowned gives an order up whose platform knows its id as another order's:
// asking on is no use, whatever the platform said before.
func Disowned(a Attempt) Transition {
	t := Abandon(a, platform.CodeAlreadyExists)
	t.cause = CauseDisowned
	return t
}

// HolderChanged ends an order whose person does not hold the number any more.
func HolderChanged(now time.Time) Transition {
	return Transition{cause: CauseHolderChanged, to: Cancelled, time: now, reason: "HOLDER_CHANGED"}
}

// Forgotten ends an order that the platform took and does not know any more, and
// whose person does not hold the number any more: it must not be sent again.
func Forgotten(now time.Time) Transition {
	t := HolderChanged(now)
	t.cause = CauseForgotten
	return t
}

// HolderUnknown puts an order off because the carrier could not be asked.
func HolderUnknown(now, next time.Time) Transition {
	return Transition{cause: CauseHolderUnknown, time: now, next: next, reason: "HOLDER_UNCHECKED"}
}

// Reported is what a platform reports by itself.
func Reported(now time.Time, r platform.Report, next time.Time) Transition {
	return Transition{cause: CauseReported, to: stateOf(r.Stage), time: now, report: r, reason: r.RefusalReason, next: next}
}

// CancelledByPerson takes an order back.
func CancelledByPerson(now time.Time) Transition {
	return Transition{cause: CauseCancelled, to: Cancelled, time: now, reason: "BY_PERSON"}
}

// AppealedByPerson opens a refused order again, now due at due.
func AppealedByPerson(now, due time.Time) Transition {
	return Transition{cause: CauseAppealed, to: Appealed, time: now, next: now, due: due, reason: "BY_PERSON"}
}

// Replayed opens a dead letter again. Its due time stays: it is late.
func Replayed(now time.Time) Transition {
	return Transition{cause: CauseReplayed, to: Queued, time: now, next: now, reason: "REPLAYED"}
}

// Discarded puts a dead letter aside for good; note is why, in the operator's
// words.
func Discarded(now time.Time, note string) Transition {
	return Transition{cause: CauseDiscarded, time: now, reason: reasonDiscarded, note: note}
}

const reasonDiscarded = "DISCARDED"

// outcome is the attempt's outcome in one word: the state the platform gave, or
// the code of the failure.
func (t Transition) outcome() string {
	if machine[t.cause].By == ByPlatform {
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
// that the machine forbids changes nothing but what is known of the attempt:
// late, repeated and shuffled words of a platform move nothing backwards.
func (o *Order) Apply(t Transition) bool {
	open := !o.State.Final()
	if open {
		o.recordAttempt(t)
	}
	to := t.to
	if to == 0 {
		to = o.State
	}
	if !t.cause.leads(o.State, to) || o.stale(t, to) {
		if open {
			o.keepAsking(t)
		}
		return false
	}
	changed := o.State != to
	o.State, o.NextTime = to, t.next
	if to.Final() {
		o.NextTime = time.Time{}
	}
	o.take(t)
	if changed || t.to == 0 {
		o.note(t)
	}
	return changed
}

// stale reports whether a word of the platform is older than what is known.
func (o *Order) stale(t Transition, to State) bool {
	if machine[t.cause].By != ByPlatform {
		return false
	}
	own := !t.attempted.IsZero() // an answer to the hub, not a report
	if to != Completed && o.Appeals > 0 && (own && t.appeal < o.Appeals || !own && !t.report.Time.After(o.AppealedOver)) {
		return true // it is of the decision that the person has appealed against
	}
	if to.Rank() != o.State.Rank() {
		return false
	}
	// IN_REVIEW and ACTION_REQUIRED alternate by the platform's own time, and a
	// late page does not replace a newer one. Of two words of one time an answer
	// to the hub's question is the later one.
	if own {
		return t.report.Time.Before(o.ReportTime)
	}
	return !t.report.Time.After(o.ReportTime)
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
	if machine[t.cause].Spends {
		o.Attempts++
		if o.State.Rank() == rankOpen {
			o.step(Step{State: Sending, Time: t.attempted, Attempt: o.Attempts})
		}
	}
}

// take keeps what came with the transition.
func (o *Order) take(t Transition) {
	switch t.cause {
	case CauseAnswered, CauseReported:
		if t.report.Time.After(o.ReportTime) {
			o.ReportTime = t.report.Time
		}
		o.RefusalReason, o.RefusalText, o.ActionURL = t.report.RefusalReason, t.report.RefusalText, t.report.ActionURL
	case CauseAppealed:
		o.Appeals++
		o.AppealedOver, o.OpenTime, o.DueTime, o.Polls = o.ReportTime, t.time, t.due, 0
	case CauseReplayed:
		o.OpenTime, o.Polls = t.time, 0
	case CauseDiscarded:
		o.Discarded, o.Note = true, t.note
	}
}

// note writes the transition into the history.
func (o *Order) note(t Transition) {
	s := Step{State: o.State, Time: t.time, Attempt: o.Attempts, Reason: t.reason}
	if !t.attempted.IsZero() {
		s.Took = max(t.time.Sub(t.attempted), 0)
	}
	if t.cause != CauseDiscarded { // which is no news of the order itself
		o.StateTime = t.time
	}
	o.step(s)
}

// HolderGone reports whether a carrier said that the number is not the person's
// any more, which casts doubt on what it said about their other orders.
func (t Transition) HolderGone() bool {
	return t.cause == CauseHolderChanged || t.cause == CauseForgotten
}

// Time is when it happened, by the hub's clock.
func (t Transition) Time() time.Time { return t.time }
