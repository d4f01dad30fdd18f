// Package coverage counts how platforms answer and turns the counts into the
// figures that are published. It is pure: it keeps and asks nothing itself.
package coverage

import (
	"math"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Buckets is how many buckets of answer times there are. Bucket i holds answers
// of at most Bound(i) ms; the last one holds all that took longer.
const Buckets = 48

// Bound is the upper end of bucket i in milliseconds: 1, 1.25, 1.56 … about 29 s,
// so that a percentile is off by at most a quarter. The bounds never change, so
// that counts of different days can be added.
func Bound(i int) float64 {
	if i >= Buckets-1 {
		return math.Inf(1)
	}
	return math.Pow(1.25, float64(i))
}

func bucketOf(d time.Duration) int {
	ms := float64(d) / float64(time.Millisecond)
	if ms <= 1 {
		return 0
	}
	return min(int(math.Ceil(math.Log(ms)/math.Log(1.25)-1e-9)), Buckets-1)
}

// Tally counts the questions put to one platform, or to several.
type Tally struct {
	Asked, Answered, Silent, Malformed int64
	Times                              [Buckets]int64 // answers by time
}

// Add adds one answer.
func (t *Tally) Add(a platform.Answer) {
	t.Asked++
	if a.State.Answered() {
		t.Answered++
		t.Times[bucketOf(a.Took)]++
		return
	}
	t.Silent++
	if a.Malformed {
		t.Malformed++
	}
}

// Merge adds another tally.
func (t *Tally) Merge(o Tally) {
	t.Asked += o.Asked
	t.Answered += o.Answered
	t.Silent += o.Silent
	t.Malformed += o.Malformed
	for i, n := range o.Times {
		t.Times[i] += n
	}
}

// Rate is answered / asked; false where nothing was asked.
func (t Tally) Rate() (float64, bool) {
	if t.Asked == 0 {
		return 0, false
	}
	return float64(t.Answered) / float64(t.Asked), true
}

// Percentile is the time in whole milliseconds within which the share p (0 to 1)
// of the answers came, as the upper end of the bucket it lies in; false where
// there are no answers, and math.MaxInt32 for the last, open bucket.
func (t Tally) Percentile(p float64) (int32, bool) {
	if t.Answered == 0 {
		return 0, false
	}
	need := int64(math.Ceil(p * float64(t.Answered)))
	var seen int64
	for i, n := range t.Times {
		if seen += n; seen >= max(need, 1) && i < Buckets-1 {
			return int32(math.Ceil(Bound(i))), true
		}
	}
	return math.MaxInt32, true
}

// Counter gathers tallies in memory until they are flushed. It is safe for
// concurrent use. A crash loses what was not flushed.
type Counter struct {
	mu sync.Mutex
	by map[platform.ID]*Tally
}

// NewCounter returns an empty Counter.
func NewCounter() *Counter { return &Counter{by: make(map[platform.ID]*Tally)} }

// Observe counts one answer.
func (c *Counter) Observe(id platform.ID, a platform.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.by[id]
	if t == nil {
		t = new(Tally)
		c.by[id] = t
	}
	t.Add(a)
}

// Take returns what was counted since the last Take and begins anew.
func (c *Counter) Take() map[platform.ID]Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[platform.ID]Tally, len(c.by))
	for id, t := range c.by {
		out[id] = *t
	}
	clear(c.by)
	return out
}

// PutBack returns what Take gave, after it could not be stored.
func (c *Counter) PutBack(back map[platform.ID]Tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, t := range back {
		if c.by[id] == nil {
			c.by[id] = new(Tally)
		}
		c.by[id].Merge(t)
	}
}

// Peek returns what was counted since the last Take.
func (c *Counter) Peek() map[platform.ID]Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[platform.ID]Tally, len(c.by))
	for id, t := range c.by {
		out[id] = *t
	}
	return out
}
