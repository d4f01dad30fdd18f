package bolt

import (
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

const day = 24 * time.Hour

// The kinds of counter.
const (
	countCodes     = "codes"     // by number, 24 h
	countAddress   = "address"   // by client address, 24 h
	countSuffixDay = "suffixday" // by number, 24 h
	countSuffixMon = "suffixmon" // by number, 30 d
	countLookups   = "lookups"   // by number, 24 h
	countOrders    = "orders"    // by number, 24 h
	countLate      = "late"      // messages about late answers, by number, 24 h
)

// used returns a counter's value and when it starts again.
func used(tx *group.Tx, kind string, index []byte, now time.Time) (int, time.Time, error) {
	c := new(recordv1.Counter)
	found, err := load(tx, bucketCounters, counterKey(kind, index), c)
	if err != nil || !found || !moment(c.GetExpireTime()).After(now) {
		return 0, now, err
	}
	return int(c.GetCount()), moment(c.GetExpireTime()), nil
}

// count adds n to a counter that lives for life from its first use. n may be
// negative to undo.
func count(tx *group.Tx, kind string, index []byte, now time.Time, life time.Duration, n int) error {
	have, end, err := used(tx, kind, index, now)
	if err != nil {
		return err
	}
	k := counterKey(kind, index)
	if have == 0 {
		end = now.Add(life)
		if err := expires(tx, end, bucketCounters, k); err != nil {
			return err
		}
	}
	return save(tx, bucketCounters, k, &recordv1.Counter{Count: int32(max(have+n, 0)), ExpireTime: stamp(end)})
}

func counterKey(kind string, index []byte) []byte { return key([]byte(kind), zero, index) }
