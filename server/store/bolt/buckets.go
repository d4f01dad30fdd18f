package bolt

import (
	"encoding/binary"
	"time"
)

// schemaVersion is the layout below. A hub refuses a file with a higher one.
const schemaVersion = 2

// Every bucket of the file. Times in keys are 8 bytes, big endian, nanoseconds
// since 1970, so that keys sort by time.
var (
	bucketMeta          = []byte("meta")           // "meta" → record.Meta; see also bolt.go and pause.go
	bucketPlatforms     = []byte("platforms")      // platform id → record.Platform
	bucketVerifications = []byte("verifications")  // verification id → record.Verification
	bucketGuards        = []byte("guards")         // number index → record.NumberGuard
	bucketCounters      = []byte("counters")       // kind 0 index → record.Counter
	bucketSessions      = []byte("sessions")       // token digest → record.Session
	bucketLookups       = []byte("lookups")        // lookup id → record.Lookup
	bucketReasks        = []byte("reasks")         // platform 0 time lookup-id → nothing; "" for the lookup as a whole
	bucketRequests      = []byte("requests")       // request key → record.Request
	bucketOrders        = []byte("orders")         // order id → record.Order
	bucketOrdersDue     = []byte("orders_due")     // platform 0 next-time order-id → nothing; open orders
	bucketOrdersLate    = []byte("orders_late")    // due-time order-id → platform; open orders
	bucketOrdersDead    = []byte("orders_dead")    // platform 0 end-time order-id → reason; dead letters
	bucketOrdersOf      = []byte("orders_of")      // subject order-id → platform
	bucketOrderTallies  = []byte("order_tallies")  // platform id → record.OrderTally
	bucketLookupTallies = []byte("lookup_tallies") // platform id → record.LookupTally
	bucketLookupDays    = []byte("lookup_days")    // day platform → record.LookupTally; see days.go
	bucketUnbindDays    = []byte("unbind_days")    // day platform → record.UnbindTally
	bucketExpiry        = []byte("expiry")         // time bucket 0 key → nothing; see sweep.go
)

func allBuckets() [][]byte {
	return [][]byte{
		bucketMeta, bucketPlatforms, bucketVerifications, bucketGuards, bucketCounters, bucketSessions, bucketLookups,
		bucketReasks, bucketRequests, bucketOrders, bucketOrdersDue, bucketOrdersLate, bucketOrdersDead, bucketOrdersOf,
		bucketOrderTallies, bucketLookupTallies, bucketLookupDays, bucketUnbindDays, bucketExpiry,
	}
}

// growing are the buckets that fill from the right, or from the right of each
// platform.
func growing() [][]byte {
	return [][]byte{bucketOrders, bucketOrdersDue, bucketOrdersLate, bucketOrdersDead, bucketLookups, bucketExpiry, bucketVerifications}
}

var metaKey = []byte("meta")

func timeKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}

func keyTime(k []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(k)))
}

// key joins parts into one key. Callers see to it that parts of variable length
// are followed by a 0 or stand last.
func key(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	k := make([]byte, 0, n)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

var zero = []byte{0}
