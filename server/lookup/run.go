package lookup

import (
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// run is a lookup under way, or a round of late questions of one. Its calls lie
// in one slice and share one timer; answers come in through callbacks, so that no
// goroutine waits for a platform.
type run struct {
	mu      sync.Mutex
	l       Lookup
	reask   time.Time // when those that stay silent are asked again; may be zero
	pending int
	changed chan struct{} // closed at the next change; nil while nobody waits for it
	ended   func(Lookup)  // called once, with the lock held: it must not block, nor change the rows

	calls []platform.Call
	asked []target // by call
	timer *time.Timer
}

// newRun takes the lookup's rows over: answers are written into them.
func newRun(l Lookup, reask time.Time, ended func(Lookup)) *run {
	return &run{l: l, reask: reask, ended: ended}
}

// ask puts the question to every target and withdraws what is unanswered at the
// deadline.
func (r *run) ask(req Request, targets []target, deadline time.Time, observe func(platform.ID, platform.Answer)) {
	r.pending, r.asked = len(targets), targets
	r.calls = make([]platform.Call, len(targets))
	frame := r.l.Rows // whose ids are never written to, so no lock is needed
	done := func(c *platform.Call) {
		observe(frame[c.Row].Platform, c.Answer())
		r.answered(c)
	}
	for i, t := range targets {
		c := &r.calls[i]
		c.Number, c.HolderSince, c.Deadline, c.Trace = req.Number, req.HolderSince, deadline, req.Trace
		c.Row, c.Done = t.row, done
	}
	r.mu.Lock()
	r.timer = time.AfterFunc(time.Until(deadline), r.withdraw)
	r.mu.Unlock()
	for i := range r.calls {
		r.asked[i].platform.Ask(&r.calls[i])
	}
}

// withdraw takes back every question that is still open; each then finishes as
// silent.
func (r *run) withdraw() {
	for i := range r.calls {
		if c := &r.calls[i]; !c.Finished() {
			r.asked[i].platform.Withdraw(c)
		}
	}
}

func (r *run) answered(c *platform.Call) {
	a := c.Answer()
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &r.l.Rows[c.Row]
	row.State, row.Accounts, row.AnswerTime = a.State, a.Accounts, a.AnswerTime
	if a.State == platform.Silent {
		row.ReaskTime = r.reask
	}
	r.l.Revision++
	r.notify()
	if r.pending--; r.pending == 0 {
		r.timer.Stop()
		r.ended(r.l)
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
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

func (r *run) snapshot() Lookup {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copied()
}

// watch returns the lookup and a channel that is closed when it changes.
func (r *run) watch() (Lookup, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.copied(), r.changed
}

// copied is the lookup with rows of its own; the lock is held. Copying where it
// is read, not at every answer, keeps a lookup of many platforms linear.
func (r *run) copied() Lookup {
	l := r.l
	l.Rows = slices.Clone(l.Rows)
	return l
}
