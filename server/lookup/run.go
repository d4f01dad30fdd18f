package lookup

import (
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// run is a lookup under way. Its calls lie in one slice and share one timer;
// answers come in through callbacks, so that no goroutine waits for a platform.
type run struct {
	mu      sync.Mutex
	l       Lookup
	pending int
	changed chan struct{} // closed at the next change
	ended   func(Lookup)  // called once, with the lock held: it must not block

	calls []platform.Call
	asked []platform.Platform // by call
	timer *time.Timer
}

func newRun(l Lookup, ended func(Lookup)) *run {
	l.Rows = slices.Clone(l.Rows) // which answers are written into
	return &run{l: l, changed: make(chan struct{}), ended: ended}
}

// ask puts the question to every target and withdraws what is unanswered at the
// deadline.
func (r *run) ask(req Request, targets map[int]platform.Platform, deadline time.Time, observe func(platform.ID, platform.Answer)) {
	r.pending = len(targets)
	r.calls = make([]platform.Call, len(targets))
	r.asked = make([]platform.Platform, 0, len(targets))
	rows := make([]int, 0, len(targets))
	for row := range targets {
		rows = append(rows, row)
	}
	slices.Sort(rows)
	frame := r.l.Rows // whose ids are never written to, so no lock is needed
	done := func(c *platform.Call) {
		observe(frame[c.Row].Platform, c.Answer())
		r.answered(c)
	}
	for i, row := range rows {
		c := &r.calls[i]
		c.Number, c.HolderSince, c.Deadline, c.Row, c.Done = req.Number, req.HolderSince, deadline, row, done
		c.Trace = req.Trace
		r.asked = append(r.asked, targets[row])
	}
	r.mu.Lock()
	r.timer = time.AfterFunc(time.Until(deadline), r.withdraw)
	r.mu.Unlock()
	for i := range r.calls {
		r.asked[i].Ask(&r.calls[i])
	}
}

// withdraw takes back every question that is still open; each then finishes as
// silent.
func (r *run) withdraw() {
	for i := range r.calls {
		if c := &r.calls[i]; !c.Finished() {
			r.asked[i].Withdraw(c)
		}
	}
}

func (r *run) answered(c *platform.Call) {
	a := c.Answer()
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &r.l.Rows[c.Row]
	row.State, row.Accounts, row.AnswerTime = a.State, a.Accounts, a.AnswerTime
	r.l.Revision++
	r.notify()
	if r.pending--; r.pending == 0 {
		r.timer.Stop()
		r.ended(r.copied())
	}
}

// publish replaces the lookup with its final form.
func (r *run) publish(l Lookup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l = l
	r.notify()
}

func (r *run) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *run) snapshot() Lookup {
	l, _ := r.watch()
	return l
}

// watch returns the lookup and a channel that is closed when it changes.
func (r *run) watch() (Lookup, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copied(), r.changed
}

// copied is the lookup with rows of its own; the lock is held. Copying where it
// is read, not at every answer, keeps a lookup of many platforms linear.
func (r *run) copied() Lookup {
	l := r.l
	l.Rows = slices.Clone(l.Rows)
	return l
}
