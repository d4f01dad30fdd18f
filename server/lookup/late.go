package lookup

import (
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// A lookup that is complete goes on in the background: its silent platforms are
// asked again until it is final. Whatever comes of that is a Round.

// AwaitsLate reports whether a platform may still answer late.
func (l Lookup) AwaitsLate(now time.Time) bool {
	return l.Complete && !l.Number.IsZero() && now.Before(l.FinalBy) && l.silent()
}

// OwesMessage reports whether the last late answer is in and the person was not
// told.
func (l Lookup) OwesMessage() bool { return l.Complete && !l.Number.IsZero() && !l.silent() }

func (l Lookup) silent() bool {
	return slices.ContainsFunc(l.Rows, func(r Row) bool { return r.State == platform.Silent })
}

// earliestReask is when the first silent platform is asked again; zero where none
// is.
func (l Lookup) earliestReask() time.Time {
	var first time.Time
	for _, r := range l.Rows {
		if r.State == platform.Silent && !r.ReaskTime.IsZero() && (first.IsZero() || r.ReaskTime.Before(first)) {
			first = r.ReaskTime
		}
	}
	return first
}

// Wake is when a lookup is looked at again: at one silent platform, or, where
// Platform is "", as a whole.
type Wake struct {
	Platform platform.ID
	Time     time.Time
}

// Wakes lists what a store has to index of a lookup, so that DueReasks finds it.
func (l Lookup) Wakes() []Wake {
	if l.Number.IsZero() || l.WakeTime.IsZero() {
		return nil
	}
	out := []Wake{{Time: l.WakeTime}}
	if !l.Complete {
		return out // its platforms are still being asked
	}
	for _, r := range l.Rows {
		if r.State == platform.Silent && !r.ReaskTime.IsZero() && r.ReaskTime.Before(l.FinalBy) {
			out = append(out, Wake{Platform: r.Platform, Time: r.ReaskTime})
		}
	}
	return out
}

// DueRequest says what is wanted of DueReasks.
type DueRequest struct {
	Now time.Time
	// Free is how many lookups may be taken for a platform; for "", as a whole.
	Free func(platform.ID) int
	// Busy lookups are passed over.
	Busy func(id string) bool
}

// Due is a lookup whose time has come.
type Due struct {
	Lookup    Lookup
	Platforms []platform.ID // which of its platforms; "" for the lookup as a whole
}

// Round is what one more look at a lookup brought.
type Round struct {
	LookupID string
	Now      time.Time
	// Rows are the silent platforms that were asked, as they stand now: with an
	// answer, or with the time they are asked next. Whatever else is in a row is
	// of no account.
	Rows []Row
	// MessageTime is when to look at the lookup again if it owes the message; zero
	// for at once.
	MessageTime time.Time
	// Stop ends it: nobody is asked again and no message is sent.
	Stop bool
}

// Apply returns the lookup after the round. A lookup that a crash left in the
// middle is settled, and its platforms are due at once. After its final time a
// lookup does not change any more.
func (r Round) Apply(l Lookup) Lookup {
	l = l.settled()
	l.Rows = slices.Clone(l.Rows)
	if l.Number.IsZero() || r.Stop || !r.Now.Before(l.FinalBy) && !l.OwesMessage() {
		return l.forgotten()
	}
	for i := range l.Rows {
		row := &l.Rows[i]
		if row.State != platform.Silent {
			continue
		}
		if row.ReaskTime.IsZero() {
			row.ReaskTime = r.Now
		}
		j := slices.IndexFunc(r.Rows, func(x Row) bool { return x.Platform == row.Platform })
		switch {
		case j < 0:
		case r.Rows[j].State.Answered():
			x := r.Rows[j]
			row.State, row.Accounts, row.AnswerTime, row.ReaskTime = x.State, x.Accounts, x.AnswerTime, time.Time{}
			l.Revision++
		default:
			row.Reasks, row.ReaskTime = r.Rows[j].Reasks, r.Rows[j].ReaskTime
		}
	}
	l.WakeTime = l.FinalBy
	if l.OwesMessage() {
		l.WakeTime = r.Now
		if r.MessageTime.After(r.Now) {
			l.WakeTime = r.MessageTime
		}
	}
	return l
}

// forgotten is the lookup without what late questions and their message need.
// Its rows are its own.
func (l Lookup) forgotten() Lookup {
	l.Number, l.WakeTime = phone.Number{}, time.Time{}
	for i := range l.Rows {
		l.Rows[i].ReaskTime = time.Time{}
	}
	return l
}

// Claimed is the lookup once its message was claimed.
func (l Lookup) Claimed() Lookup {
	l.Rows = slices.Clone(l.Rows)
	return l.forgotten()
}

// Message is the one message that tells a person that the last late answer is in.
type Message struct {
	LookupID    string
	NumberIndex phone.Index
	Now         time.Time
	PerDay      int // messages per number and 24 h; 0 for no limit
}

// NextReask is when a platform is asked again that was asked again n times in
// vain: after first, twice that, four times that … longest, each shortened by up
// to half at random (rnd in [0,1)), so that the lookups of a platform that was
// down don't come back all at once.
func NextReask(now time.Time, n int, first, longest time.Duration, rnd float64) time.Time {
	d := longest
	if n < 16 {
		d = min(first<<max(n, 0), longest)
	}
	return now.Add(d - time.Duration(rnd*float64(d)/2))
}
