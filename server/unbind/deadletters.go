package unbind

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// DeadLetterChoice is which dead letters an operator means: those that are named
// or, where none is, those that are found.
type DeadLetterChoice struct {
	IDs   []string
	Query DeadLetterQuery // its After and Limit are not looked at
	Limit int             // at most so many; 0 for no limit
}

// DeadLetterCount counts dead letters of one platform and reason.
type DeadLetterCount struct {
	Platform platform.ID
	Reason   string
	Count    int
	Oldest   time.Time // when the oldest of them was given up
}

// DeadLetterResult is what became of one dead letter: Failed is empty, or why it
// could not be done.
type DeadLetterResult struct {
	ID     string
	Failed fault.Reason
}

// deadLetterPage is how many are read at once: little to hold, and a read that
// holds up nobody.
const deadLetterPage = 200

// DeadLetters lists dead letters by platform, the oldest first, and where to go on
// ("" at the end).
func (s *Service) DeadLetters(ctx context.Context, q DeadLetterQuery) ([]Order, string, error) {
	return s.o.DeadLetters.DeadLetters(ctx, q)
}

// CountDeadLetters counts what a choice without ids finds now, by platform and
// reason.
func (s *Service) CountDeadLetters(ctx context.Context, c DeadLetterChoice) ([]DeadLetterCount, error) {
	type of struct {
		platform platform.ID
		reason   string
	}
	by := make(map[of]DeadLetterCount)
	err := s.eachDeadLetter(ctx, s.fixed(c), func(o Order) error {
		at := of{o.Platform, o.EndReason()}
		n := by[at]
		if n.Count == 0 || o.StateTime.Before(n.Oldest) {
			n.Oldest = o.StateTime
		}
		n.Platform, n.Reason = at.platform, at.reason
		n.Count++
		by[at] = n
		return nil
	})
	return slices.SortedFunc(maps.Values(by), func(a, b DeadLetterCount) int {
		return cmp.Or(cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Reason, b.Reason))
	}), err
}

// ReplayDeadLetters opens dead letters again, at most perSecond in a second, and
// tells of each. It ends early when ctx does, when tell fails, or when the hub
// stops; what was replayed until then stays so, and the same choice finds the
// rest. One that is given up again meanwhile is not replayed twice.
//
// Errors: fault.ShuttingDown, or those of ctx, tell and the store.
func (s *Service) ReplayDeadLetters(ctx context.Context, c DeadLetterChoice, perSecond float64, tell func(DeadLetterResult) error) error {
	gap := time.Duration(float64(time.Second) / perSecond)
	return s.work(ctx, "replayed", c, gap, tell, func(ctx context.Context, id string) (Order, error) {
		o, err := s.o.DeadLetters.Replay(ctx, id, Replayed(s.o.Now()))
		if err == nil {
			s.Wake()
		}
		return o, err
	})
}

// DiscardDeadLetters puts dead letters aside with a note, one after the other. As
// ReplayDeadLetters otherwise.
func (s *Service) DiscardDeadLetters(ctx context.Context, c DeadLetterChoice, note string, tell func(DeadLetterResult) error) error {
	return s.work(ctx, "discarded", c, 0, tell, func(ctx context.Context, id string) (Order, error) {
		return s.o.DeadLetters.Discard(ctx, id, Discarded(s.o.Now(), note))
	})
}

// work does one thing to each dead letter of a choice, with a gap between the
// beginnings of two. What it did is logged order by order.
func (s *Service) work(ctx context.Context, what string, c DeadLetterChoice, gap time.Duration,
	tell func(DeadLetterResult) error, do func(context.Context, string) (Order, error),
) error {
	pace := pacer{gap: gap, drained: s.drained}
	done, failed := 0, 0
	one := func(id string) error {
		if err := pace.wait(ctx); err != nil {
			return err
		}
		r := DeadLetterResult{ID: id}
		o, err := do(context.WithoutCancel(ctx), id) // whole or not at all
		switch reason := fault.Of(err); {
		case err == nil:
			done++
			s.watches.Changed(id)
			s.o.Logger.Info("dead letter "+what, "order", id, "platform", o.Platform)
		case reason.Reason == fault.UnbindNotFound || reason.Reason == fault.NotAbandoned:
			failed++
			r.Failed = reason.Reason
		default:
			return fmt.Errorf("dead letter %s: %w", id, err)
		}
		return tell(r)
	}
	err := s.eachChosen(ctx, s.fixed(c), one)
	s.o.Logger.Info("dead letters "+what, "done", done, "failed", failed, "whole", err == nil)
	return err
}

// fixed limits a choice to what is a dead letter now, so that a dead letter that
// comes back while the choice is worked through is not met again.
func (s *Service) fixed(c DeadLetterChoice) DeadLetterChoice {
	if now := s.o.Now(); c.Query.Before.IsZero() || now.Before(c.Query.Before) {
		c.Query.Before = now
	}
	return c
}

func (s *Service) eachChosen(ctx context.Context, c DeadLetterChoice, one func(id string) error) error {
	if len(c.IDs) == 0 {
		return s.eachDeadLetter(ctx, c, func(o Order) error { return one(o.ID) })
	}
	for i, id := range c.IDs {
		if c.Limit > 0 && i == c.Limit {
			break
		}
		if err := one(id); err != nil {
			return err
		}
	}
	return nil
}

// eachDeadLetter reads what is found page by page.
func (s *Service) eachDeadLetter(ctx context.Context, c DeadLetterChoice, one func(Order) error) error {
	q := c.Query
	q.After = ""
	for n := 0; ; {
		q.Limit = deadLetterPage
		if c.Limit > 0 {
			q.Limit = min(q.Limit, c.Limit-n)
		}
		orders, next, err := s.o.DeadLetters.DeadLetters(ctx, q)
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		for _, o := range orders {
			if err := one(o); err != nil {
				return err
			}
		}
		n += len(orders)
		if next == "" || n == c.Limit {
			return ctx.Err()
		}
		q.After = next
	}
}

// pacer keeps beginnings a gap apart. What was late is not made up for: a burst
// is what the gap is to prevent.
type pacer struct {
	gap     time.Duration
	next    time.Time
	drained <-chan struct{}
}

// wait returns when the next may begin. Errors: the context's; fault.ShuttingDown.
func (p *pacer) wait(ctx context.Context) error {
	timer := time.NewTimer(time.Until(p.next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-p.drained:
	}
	select { // of several that are ready the end counts
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.drained:
		return fault.ShuttingDown.New()
	default:
	}
	p.next = time.Now().Add(p.gap)
	return nil
}
