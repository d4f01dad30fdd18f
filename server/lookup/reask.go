package lookup

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// The rhythm of late questions.
const (
	// reaskPace is the least time between two passes over what is due; each may
	// ask a platform as often as its rate allows in that time.
	reaskPace = time.Second
	// idlePass is how often the store is looked at when nothing is due: a net
	// below the signals, which also finds platforms that joined again.
	idlePass = time.Minute
	// wholeAtOnce is how many lookups are settled, ended or told of at once.
	wholeAtOnce = 32
)

// late is what is under way for late answers. Each platform has places of its
// own and there is no limit over all, so that those that stay silent, however
// many, hold up nobody else.
type late struct {
	mu      sync.Mutex
	rounds  map[string]bool // lookups that are looked at; true: one was due meanwhile, and passed over
	busy    map[platform.ID]int
	planned time.Time // when the next pass is; zero while one is made
	wake    chan struct{}
	tasks   sync.WaitGroup
	now     func() time.Time
}

func newLate(now func() time.Time) *late {
	return &late{now: now, rounds: make(map[string]bool), busy: make(map[platform.ID]int), wake: make(chan struct{}, 1)}
}

// expect sees to it that a pass is made at t or soon after.
func (w *late) expect(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.IsZero() || !w.planned.IsZero() && !t.Before(w.planned) {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *late) plan(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.planned = t
}

// begin takes the places of a round, end gives them back.
func (w *late) begin(d Due) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds[d.Lookup.ID] = false
	for _, p := range d.Platforms {
		w.busy[p]++
	}
}

func (w *late) end(d Due) {
	if w.leave(d) {
		w.expect(w.now())
	}
}

// leave reports whether the lookup was passed over for the round that ends.
func (w *late) leave(d Due) (passedOver bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	passedOver = w.rounds[d.Lookup.ID]
	delete(w.rounds, d.Lookup.ID)
	for _, p := range d.Platforms {
		if w.busy[p]--; w.busy[p] == 0 {
			delete(w.busy, p)
		}
	}
	return passedOver
}

// passOver reports whether the lookup is looked at, and then has its round end
// with a pass: what is due of it would else wait for one that comes by chance.
func (w *late) passOver(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, busy := w.rounds[id]
	if busy {
		w.rounds[id] = true
	}
	return busy
}

// RunReasks asks silent platforms again and tells people when the last late
// answer is in, until ctx ends; it then withdraws what is under way and waits for
// it. It returns early, with the error, when the store fails. It must run once at
// a time.
//
// A crash in the middle of a round only repeats its questions.
func (s *Service) RunReasks(ctx context.Context) error {
	defer s.late.tasks.Wait()
	work, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var earliest time.Time // of the next pass
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.late.wake:
			if d := earliest.Sub(s.o.Now()); d > 0 {
				s.late.plan(earliest)
				timer.Reset(d)
				continue
			}
		case <-timer.C:
		}
		s.late.plan(time.Time{})
		earliest = s.o.Now().Add(reaskPace)
		next, err := s.pass(work)
		if ctx.Err() != nil {
			return nil // a look that was cut off is no failure
		}
		if err != nil {
			return err
		}
		if next.Before(earliest) {
			next = earliest
		}
		s.late.plan(next)
		timer.Reset(next.Sub(s.o.Now()))
	}
}

// pass starts a round for all that is due and has room, and says when the next
// pass is.
func (s *Service) pass(ctx context.Context) (time.Time, error) {
	joined := make(map[platform.ID]platform.Platform)
	for _, p := range s.o.Joined() {
		if info := p.Info(); info.AnswersLookups() {
			joined[info.ID] = p
		}
	}
	now := s.o.Now()
	next := now.Add(idlePass)
	due, more, err := s.o.Store.DueReasks(ctx, DueRequest{
		Now: now, Busy: s.isBusy,
		Free: func(id platform.ID) int {
			if id != "" && joined[id] == nil {
				return 0 // its lookups wait until it joins or resumes
			}
			n := s.room(id)
			if n <= 0 {
				next = now
			}
			return n
		},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("due late questions: %w", err)
	}
	for _, d := range due {
		s.late.begin(d)
		s.late.tasks.Go(func() {
			next := s.round(ctx, d, joined)
			s.late.end(d)
			s.late.expect(next) // after the end: a pass skips what is looked at
		})
	}
	if !more.IsZero() && more.Before(next) {
		next = more
	}
	return next, nil
}

// room is how many lookups may be taken for a platform in one pass.
func (s *Service) room(id platform.ID) int {
	s.late.mu.Lock()
	busy := s.late.busy[id]
	s.late.mu.Unlock()
	if id == "" {
		return wholeAtOnce - busy
	}
	rate, places := s.o.Limits.ReasksPerSecond, s.o.Limits.ReasksAtOnce
	if rate <= 0 {
		rate = math.MaxInt
	}
	if places <= 0 {
		places = math.MaxInt
	}
	return min(rate, places-busy)
}

// isBusy reports whether a lookup still runs or is looked at.
func (s *Service) isBusy(id string) bool {
	s.mu.Lock()
	_, live := s.live[id]
	s.mu.Unlock()
	return live || s.late.passOver(id)
}

// round looks at one lookup and says when it is due again; zero for never, or where
// that was not stored.
func (s *Service) round(ctx context.Context, d Due, joined map[platform.ID]platform.Platform) time.Time {
	l, now := d.Lookup, s.o.Now()
	r := Round{LookupID: l.ID, Now: now}
	if l.OwesMessage() {
		return s.tell(ctx, l, r)
	}
	targets := targetsOf(d, joined)
	if len(targets) > 0 && now.Before(l.FinalBy) {
		held := holds
		if now.Sub(l.CreateTime) >= holderFresh {
			held = s.holder(ctx, l)
		}
		if ctx.Err() != nil {
			return time.Time{} // it stays due
		}
		switch held {
		case holds:
			return s.askAgain(ctx, l, targets)
		case changedHands:
			r.Stop = true
		default:
			for _, t := range targets {
				row := l.Rows[t.row]
				row.ReaskTime = now.Add(holderAgain)
				r.Rows = append(r.Rows, row)
			}
		}
	}
	next, _ := s.merge(ctx, r)
	return next
}

// targetsOf lists the silent platforms that are due; none of a lookup that a
// crash left in the middle, which has to be settled first.
func targetsOf(d Due, joined map[platform.ID]platform.Platform) []target {
	var out []target
	if !d.Lookup.Complete {
		return nil
	}
	for i, row := range d.Lookup.Rows {
		if p := joined[row.Platform]; p != nil && row.State == platform.Silent && slices.Contains(d.Platforms, row.Platform) {
			out = append(out, target{row: i, platform: p})
		}
	}
	return out
}

// askAgain puts the question to the targets once more, merges what they say, and
// says when the lookup is due again. What a stop cuts off is due again at the next
// start.
func (s *Service) askAgain(ctx context.Context, l Lookup, targets []target) time.Time {
	deadline := s.o.Now().Add(s.o.Limits.PlatformDeadline)
	if deadline.After(l.FinalBy) {
		deadline = l.FinalBy
	}
	asked := l
	asked.Rows = slices.Clone(l.Rows)
	done := make(chan Lookup, 1)
	r := newRun(asked, time.Time{}, func(l Lookup) { done <- l })
	r.ask(Request{Number: l.Number, HolderSince: l.HolderSince}, targets, s.local(deadline), func(platform.ID, platform.Answer) {})
	var got Lookup
	select {
	case got = <-done:
	case <-ctx.Done():
		r.withdraw()
		got = <-done
	}
	round := Round{LookupID: l.ID, Now: s.o.Now()}
	for _, t := range targets {
		row := got.Rows[t.row]
		switch {
		case row.State.Answered():
		case ctx.Err() != nil:
			continue
		default:
			row.Reasks++
			row.ReaskTime = s.nextReask(round.Now, row.Reasks)
		}
		round.Rows = append(round.Rows, row)
	}
	if len(round.Rows) == 0 {
		return time.Time{}
	}
	next, stored := s.merge(ctx, round)
	if stored {
		s.observeLate(r)
	}
	return next
}

func (s *Service) observeLate(r *run) {
	for i := range r.calls {
		if c := &r.calls[i]; c.Answer().State.Answered() {
			s.o.ObserveLate(r.l.Rows[c.Row].Platform, c.Answer())
		}
	}
}

// merge stores a round, wakes who waits for it and says when the lookup is due
// again; false where it could not be stored. The lookup then stays due.
func (s *Service) merge(ctx context.Context, r Round) (next time.Time, stored bool) {
	l, err := s.o.Store.MergeLate(context.WithoutCancel(ctx), r)
	if err != nil {
		s.o.Logger.Error("late answers not stored", "error", err)
		return time.Time{}, false
	}
	s.watches.Changed(r.LookupID)
	if l.Number.IsZero() {
		return time.Time{}, true
	}
	next = l.WakeTime
	if reask := l.earliestReask(); !reask.IsZero() && reask.Before(next) {
		next = reask
	}
	return next, true
}

func (s *Service) nextReask(now time.Time, n int) time.Time {
	return NextReask(now, n, s.o.Limits.ReaskAfter, s.o.Limits.ReaskEvery, rand.Float64())
}
