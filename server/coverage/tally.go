// Package coverage counts how platforms answer and turns the counts into the
// figures that are published. It is pure: it keeps and asks nothing itself.
package coverage

import (
	"math"
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

// Tally counts the questions put to one platform, or to several. Asked is
// Answered + Silent; Malformed and Late are parts of Silent, but a late answer
// may be counted on a later day than its question.
type Tally struct {
	Asked, Answered, Silent, Malformed, Late int64
	Times                                    [Buckets]int64 // answers in time, by time
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
	t.Late += o.Late
	for i, n := range o.Times {
		t.Times[i] += n
	}
}

// Rate is answered / asked; false where nothing was asked.
func (t Tally) Rate() (float64, bool) { return ratio(t.Answered, t.Asked) }

// SilentRate is silent / asked; false where nothing was asked.
func (t Tally) SilentRate() (float64, bool) { return ratio(t.Silent, t.Asked) }

// LateRate is late / asked; false where nothing was asked.
func (t Tally) LateRate() (float64, bool) { return ratio(t.Late, t.Asked) }

// ratio is false where there is nothing to divide by.
func ratio(part, whole int64) (float64, bool) {
	if whole <= 0 {
		return 0, false
	}
	return float64(part) / float64(whole), true
}

// Within is the time in whole milliseconds within which the share p (0 to 1) of
// all questions was answered, as the upper end of the bucket it lies in. Questions
// without an answer in time count as taking for ever: where the share lies among
// them, or in the last, open bucket, it is Never. False where nothing was asked.
func (t Tally) Within(p float64) (int32, bool) {
	if t.Asked <= 0 {
		return 0, false
	}
	i := bucketAt(t.Times[:], rank(p, t.Asked))
	if i >= Buckets-1 {
		return Never, true
	}
	return int32(math.Ceil(Bound(i))), true
}

// Never is the percentile of what did not happen at all, or later than is
// measured.
const Never = math.MaxInt32

// rank is which of n, counted from 1, has the share p at or before it.
func rank(p float64, n int64) int64 { return max(int64(math.Ceil(p*float64(n)-1e-9)), 1) }

// bucketAt is the bucket that holds the one of that rank; their number where none
// does.
func bucketAt(counts []int64, rank int64) int {
	var seen int64
	for i, n := range counts {
		if seen += n; seen >= rank {
			return i
		}
	}
	return len(counts)
}

// Percentile is the time in whole milliseconds within which the share p (0 to 1)
// of the answers in time came, as the upper end of the bucket it lies in; false
// where there are no answers, and Never for the last, open bucket.
func (t Tally) Percentile(p float64) (int32, bool) {
	if t.Answered == 0 {
		return 0, false
	}
	if i := bucketAt(t.Times[:], rank(p, t.Answered)); i < Buckets-1 {
		return int32(math.Ceil(Bound(i))), true
	}
	return Never, true
}
