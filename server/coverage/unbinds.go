package coverage

import (
	"math"
	"time"
)

// EndBuckets is how many buckets there are for the time orders take.
const EndBuckets = 24

// endBounds are the upper ends of the buckets but the last, which is open. They
// never change, so that counts of different days can be added.
var endBounds = [EndBuckets - 1]time.Duration{
	time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour,
	day, 2 * day, 3 * day, 4 * day, 5 * day, 6 * day, 7 * day, 8 * day, 9 * day, 10 * day, 12 * day, 14 * day, 17 * day, 21 * day, 30 * day, 60 * day,
}

const day = 24 * time.Hour

// EndBucket is the bucket of an order that took d from being taken to its end.
func EndBucket(d time.Duration) int {
	for i, bound := range endBounds {
		if d <= bound {
			return i
		}
	}
	return EndBuckets - 1
}

// EndBound is the upper end of bucket i; false for the last, open one.
func EndBound(i int) (time.Duration, bool) {
	if i < 0 || i >= len(endBounds) {
		return 0, false
	}
	return endBounds[i], true
}

// Unbinds counts the orders of one platform, or of several, on one day or on
// several. An order counts as taken on the day it was taken, as ended on the day
// it ended, and as due on the day it was due.
type Unbinds struct {
	Taken, Completed, Abandoned, Cancelled int64
	Refused                                map[string]int64 // by reason
	Due                                    int64            // but for those taken back
	OnTime                                 int64            // due, and done or refused in time
	Ends                                   [EndBuckets]int64
}

// Merge adds other counts.
func (u *Unbinds) Merge(o Unbinds) {
	u.Taken += o.Taken
	u.Completed += o.Completed
	u.Abandoned += o.Abandoned
	u.Cancelled += o.Cancelled
	u.Due += o.Due
	u.OnTime += o.OnTime
	if u.Refused == nil && len(o.Refused) > 0 {
		u.Refused = make(map[string]int64, len(o.Refused))
	}
	for reason, n := range o.Refused {
		u.Refused[reason] += n
	}
	for i, n := range o.Ends {
		u.Ends[i] += n
	}
}

// Refusals is how many were refused, for whatever reason.
func (u Unbinds) Refusals() int64 {
	var all int64
	for _, n := range u.Refused {
		all += n
	}
	return all
}

// OnTimeRate is on time / due; false where none was due.
func (u Unbinds) OnTimeRate() (float64, bool) { return ratio(u.OnTime, u.Due) }

// EndWithin is the time in seconds within which the share p (0 to 1) of the
// orders that the hub brought to an end were done or refused, as the upper end of
// the bucket it lies in. Those it gave up count as taking for ever: Never. False
// where none ended.
func (u Unbinds) EndWithin(p float64) (int32, bool) {
	all := u.Completed + u.Refusals() + u.Abandoned
	if all <= 0 {
		return 0, false
	}
	bound, ok := EndBound(bucketAt(u.Ends[:], rank(p, all)))
	if !ok {
		return Never, true
	}
	return int32(math.Ceil(bound.Seconds())), true
}
