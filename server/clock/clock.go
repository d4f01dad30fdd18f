// Package clock keeps the hub's time: it goes on evenly while the machine's clock
// is set, and never begins before what the hub has seen.
package clock

import (
	"fmt"
	"time"
)

const (
	// mostAhead is how far the machine's clock may be ahead of the largest time
	// seen when a hub starts. A hub is rarely off for longer, and a clock that is
	// wrong by more would end everything that is kept, for good.
	mostAhead = 30 * 24 * time.Hour
	// Tolerance is how far the two may be apart before it is worth a word.
	Tolerance = 30 * time.Second
)

// Options says where a Clock reads the time.
type Options struct {
	// Wall reads the machine's clock, which may be set. Nil means time.Now.
	Wall func() time.Time
	// Elapsed is how long it is since some moment before the first reading, by a
	// clock that nobody sets. Nil means the monotonic clock of package time, which
	// stands still while the machine sleeps; SinceBoot does not.
	Elapsed func() time.Duration
	// Accept takes the machine's clock at the start however far it is ahead.
	Accept bool
}

// Clock is the hub's time. Times that go to the disk or come from there are
// compared with it alone. All methods but Resume are safe for concurrent use. A nil
// Clock is the machine's.
//
// Its times have no monotonic reading: whoever sets a timer or a context's
// deadline by one takes the difference to Now, not time.Until.
type Clock struct {
	o     Options
	base  time.Time     // the hub's time at the start …
	began time.Duration // … which was then
	off   time.Duration // of the machine's clock at the start, ahead of base
}

// New returns a Clock that starts now, with the time of the machine.
func New(o Options) *Clock {
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Elapsed == nil {
		start := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(start) }
	}
	return &Clock{o: o, began: o.Elapsed(), base: o.Wall().Round(0)}
}

// Resume makes the clock go on from the largest time that was seen in an earlier
// run, if the machine's is behind it; the zero time is none. It must come before
// the clock is used.
//
// Errors: *AheadError, when the machine's clock is too far ahead to be believed.
func (c *Clock) Resume(largest time.Time) error {
	if c == nil || largest.IsZero() {
		return nil
	}
	switch ahead := c.base.Sub(largest); {
	case ahead > mostAhead && !c.o.Accept:
		return &AheadError{Largest: largest, Ahead: ahead}
	case ahead < 0:
		c.base, c.off = largest, ahead
	}
	return nil
}

// AheadError is a machine's clock that a hub does not start with.
type AheadError struct {
	Largest time.Time
	Ahead   time.Duration
}

// Error implements error.
func (e *AheadError) Error() string {
	return fmt.Sprintf("the machine's clock is %d days ahead of the last time this hub noted (%s), and a wrong clock would end all that is kept; "+
		"see `timedatectl` and set it right, or, if it is right and the hub was off that long, start once with --accept-clock",
		int(e.Ahead.Hours()/24), e.Largest.UTC().Format(time.RFC3339))
}

// Now is the hub's time.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c.base.Add(c.o.Elapsed() - c.began)
}

// Off is how far the machine's clock is ahead of the hub's, or behind it where
// negative.
func (c *Clock) Off() time.Duration {
	if c == nil {
		return 0
	}
	return c.o.Wall().Round(0).Sub(c.Now())
}

// Jump is how far the machine's clock was set forward since the start, or back
// where negative.
func (c *Clock) Jump() time.Duration {
	if c == nil {
		return 0
	}
	return c.Off() - c.off
}
