package coverage

import (
	"context"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Cell is what is counted together: one platform on one day.
type Cell struct {
	Platform platform.ID
	Day      Day
}

// Counter gathers tallies in memory until they are flushed. It is safe for
// concurrent use. A crash loses what was not flushed.
type Counter struct {
	mu sync.Mutex
	by map[Cell]*Tally

	now func() time.Time // the hub's clock

	// turn is held by a flush and by a reader, so that a reader finds every count
	// either in the store or here, never in both and never in neither. It is a
	// channel because a commit is waited for while it is held.
	turn chan struct{}
}

// NewCounter returns an empty Counter, to which the hub's clock tells the day; nil
// means time.Now.
func NewCounter(now func() time.Time) *Counter {
	if now == nil {
		now = time.Now
	}
	return &Counter{now: now, by: make(map[Cell]*Tally), turn: make(chan struct{}, 1)}
}

// Observe counts a question by the answer it got in time, on the present day.
func (c *Counter) Observe(id platform.ID, a platform.Answer) {
	c.count(id, func(t *Tally) { t.Add(a) })
}

// ObserveLate counts the answer to a question that was asked again after it had
// got none in time, on the present day. What is no answer is not counted.
func (c *Counter) ObserveLate(id platform.ID, a platform.Answer) {
	if a.State.Answered() {
		c.count(id, func(t *Tally) { t.Late++ })
	}
}

func (c *Counter) count(id platform.ID, change func(*Tally)) {
	k := Cell{id, DayOf(c.now())}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.by[k]
	if t == nil {
		t = new(Tally)
		c.by[k] = t
	}
	change(t)
}

// Flush adds what was counted to the store. If that fails nothing is lost: it is
// tried again at the next flush.
func (c *Counter) Flush(ctx context.Context, s Store) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	taken := c.drain()
	if len(taken) == 0 {
		return nil
	}
	err := s.FlushTallies(ctx, taken)
	if err != nil {
		c.putBack(taken)
	}
	return err
}

func (c *Counter) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Counter) give() { <-c.turn }

// drain returns what was counted since the last drain and begins anew.
func (c *Counter) drain() map[Cell]Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.copy()
	clear(c.by)
	return out
}

// peek returns what drain would.
func (c *Counter) peek() map[Cell]Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copy()
}

func (c *Counter) copy() map[Cell]Tally {
	out := make(map[Cell]Tally, len(c.by))
	for k, t := range c.by {
		out[k] = *t
	}
	return out
}

func (c *Counter) putBack(back map[Cell]Tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, t := range back {
		if c.by[k] == nil {
			c.by[k] = new(Tally)
		}
		c.by[k].Merge(t)
	}
}
