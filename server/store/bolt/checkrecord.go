package bolt

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/unbind"
)

// recordCheck is how the records of one bucket are checked.
type recordCheck struct {
	bucket []byte
	check  func(c *checker, k, v []byte)
}

// recordChecks has every bucket, each with a function of its own. Orders come
// before the tallies that count them.
func recordChecks() []recordCheck {
	all := []recordCheck{
		{bucketMeta, checkMeta}, {bucketPlatforms, checkPlatform}, {bucketVerifications, checkVerification},
		{bucketGuards, checkGuard}, {bucketCounters, checkCounter}, {bucketSessions, checkSession},
		{bucketLookups, checkLookup}, {bucketReasks, checkReask}, {bucketRequests, checkRequest}, {bucketOrders, checkOrder},
		{bucketOrderTallies, checkOrderTally}, {bucketLookupTallies, checkLookupTally}, {bucketLookupDays, checkLookupDay},
		{bucketUnbindDays, checkUnbindDay}, {bucketExpiry, checkExpiry},
	}
	for _, x := range orderIndexes() {
		all = append(all, recordCheck{x.bucket, x.check})
	}
	return all
}

// decode reads a record; false after it noted that it can't be read.
func (c *checker) decode(id string, v []byte, m proto.Message) bool {
	if err := proto.Unmarshal(v, m); err != nil {
		c.bad(id, restoreAdvice, "the record is broken")
		return false
	}
	return true
}

// secret opens what is sealed in a record; false where it can't be, or must not.
func (c *checker) secret(id, action string, k, sealed []byte, m proto.Message) bool {
	if !c.r.Opened {
		return false
	}
	if err := c.s.openFor(c.bucket, k, sealed, m); err != nil {
		c.bad(id, action, "what is sealed in it can't be opened: it was changed, or moved from another record")
		return false
	}
	return true
}

// sweeps checks that a record is known to the sweep that removes it.
func (c *checker) sweeps(end *timestamppb.Timestamp, k []byte) {
	c.sweepsAt("", moment(end), k)
}

func (c *checker) sweepsAt(id string, end time.Time, k []byte) {
	if end.IsZero() || c.get(bucketExpiry, key(timeKey(end), c.bucket, zero, k)) == nil {
		c.bad(id, expiryAdvice, "nothing says when it is to be removed")
	}
}

func (c *checker) digest(b []byte, what string) {
	if len(b) != 32 {
		c.bad("", restoreAdvice, "its %s has %d bytes of 32", what, len(b))
	}
}

func checkMeta(c *checker, k, v []byte) {
	if bytes.Equal(k, metaKey) {
		c.decode("", v, new(recordv1.Meta))
	}
}

func checkPlatform(c *checker, k, v []byte) {
	p := new(recordv1.Platform)
	if c.decode(string(k), v, p) && p.GetPlatformId() != string(k) {
		c.bad(string(k), restoreAdvice, "the record is of another platform")
	}
}

func checkVerification(c *checker, k, v []byte) {
	r := new(recordv1.Verification)
	if !c.decode("", v, r) {
		return
	}
	c.digest(r.GetNumberIndex(), "number index")
	c.sweeps(r.GetExpireTime(), k)
	c.secret("", restoreAdvice, k, r.GetSealed(), new(recordv1.HolderSecret))
}

func checkGuard(c *checker, k, v []byte) {
	r := new(recordv1.NumberGuard)
	if c.decode("", v, r) {
		c.sweeps(r.GetExpireTime(), k)
	}
}

func checkCounter(c *checker, k, v []byte) {
	r := new(recordv1.Counter)
	if !c.decode("", v, r) {
		return
	}
	if kind, _, ok := bytes.Cut(k, zero); !ok || len(kind) == 0 {
		c.bad("", restoreAdvice, "it does not say what it counts")
	}
	if r.GetCount() < 0 {
		c.bad("", restoreAdvice, "it is below 0")
	}
	c.sweeps(r.GetExpireTime(), k)
}

func checkSession(c *checker, k, v []byte) {
	r := new(recordv1.Session)
	if !c.decode("", v, r) {
		return
	}
	c.digest(r.GetSubject(), "subject")
	c.sweeps(r.GetExpireTime(), k)
	c.secret("", restoreAdvice, k, r.GetSealed(), new(recordv1.HolderSecret))
}

// checkLookup also looks whether the hub would come back to it. Entries that
// belong to no lookup are no problem: whoever finds one removes it.
func checkLookup(c *checker, k, v []byte) {
	r, id := new(recordv1.Lookup), string(k)
	if !c.decode(id, v, r) {
		return
	}
	c.digest(r.GetSubject(), "subject")
	if !c.secret(id, restoreAdvice, k, r.GetSealed(), new(recordv1.LookupSecret)) {
		return
	}
	wakes, err := c.s.wakesOf(id, r)
	if err != nil {
		c.bad(id, restoreAdvice, "what was found can't be read")
	}
	for _, w := range wakes {
		if c.get(bucketReasks, wakeKey(id, w)) == nil {
			c.bad(id, restoreAdvice, "the hub would not come back to it: its entry in %s is missing", bucketReasks)
		}
	}
}

func checkReask(c *checker, k, _ []byte) {
	if _, ok := idAfterPlatform(k); !ok {
		c.bad("", restoreAdvice, "the entry is broken")
	}
}

func checkRequest(c *checker, k, v []byte) {
	r := new(recordv1.Request)
	if !c.decode("", v, r) {
		return
	}
	c.sweeps(r.GetExpireTime(), k)
	for _, u := range r.GetUnbinds() {
		if id := u.GetOrderId(); id != "" && c.get(bucketOrders, []byte(id)) == nil {
			c.bad("", orderAdvice, "it was answered with order %s, which is missing", id)
		}
	}
}

// checkOrder checks an order, its history, its secret, and its entries in every
// index; a broken one is named by its id.
func checkOrder(c *checker, k, v []byte) {
	r, id := new(recordv1.Order), string(k)
	if err := proto.Unmarshal(v, r); err != nil {
		c.bad(id, orderAdvice, "the record is broken")
		return
	}
	o, err := frame(id, r)
	if err != nil {
		c.bad(id, orderAdvice, "its subject or number index is cut off")
		return
	}
	c.count(o)
	if text := orderFlaw(o); text != "" {
		c.bad(id, orderAdvice, "%s", text)
	}
	if own := r.GetOrderId(); own != "" && own != id { // of layout 1; since then the secret tells
		c.bad(id, orderAdvice, "the record is of another order")
	}
	if c.r.Current {
		c.indexed(o)
		if o.State.Final() {
			c.sweepsAt(id, o.StateTime.Add(orderLife), k)
		}
	}
	c.orderSecret(o, k, r.GetSealed())
}

func (c *checker) orderSecret(o unbind.Order, k, sealed []byte) {
	secret := new(recordv1.OrderSecret)
	if !c.secret(o.ID, orderAdvice, k, sealed, secret) {
		return
	}
	n, err := phone.ParseNumber(secret.GetPhoneNumber())
	if err != nil {
		c.bad(o.ID, orderAdvice, "what is sealed in it is no number")
		return
	}
	if phone.IndexOf(c.o.Keys, n) != o.NumberIndex {
		c.bad(o.ID, orderAdvice, "its number index is that of another number")
	}
}

// orderFlaw says what is wrong with an order in itself; "" for nothing.
func orderFlaw(o unbind.Order) string {
	switch {
	case o.State.String() == "" || o.State == unbind.Sending:
		return "its state is none that is ever written"
	case o.Platform == "":
		return "it names no platform"
	case o.CreateTime.IsZero() || o.DueTime.IsZero() || o.StateTime.IsZero():
		return "one of its times is missing"
	case o.State.Final() != o.NextTime.IsZero():
		return "it has ended and is to go on, or neither"
	}
	return historyFlaw(o)
}

// historyFlaw holds the history against the state: an attempt that ends without a
// word may leave a SENDING behind, all else is the last step.
func historyFlaw(o unbind.Order) string {
	last := unbind.State(0)
	for i, h := range o.History {
		switch {
		case h.State.String() == "":
			return "its history has a state that there is not"
		case h.Time.IsZero():
			return "its history has a step without a time"
		case i == 0 && h.State != unbind.Queued:
			return "its history does not begin with QUEUED"
		case h.State != unbind.Sending:
			last = h.State
		}
	}
	if last != o.State {
		return "its state is not the one its history ends with"
	}
	return ""
}

func checkLookupTally(c *checker, k, v []byte) { c.decode(string(k), v, new(recordv1.LookupTally)) }

func checkLookupDay(c *checker, k, v []byte) { c.day(k, v, new(recordv1.LookupTally)) }

func checkUnbindDay(c *checker, k, v []byte) { c.day(k, v, new(recordv1.UnbindTally)) }

func (c *checker) day(k, v []byte, m proto.Message) {
	if len(k) <= 4 {
		c.bad("", tallyAdvice, "its key names no day and platform")
		return
	}
	id := string(k[4:]) + " on " + keyCell(k).Day.Start().Format(time.DateOnly)
	c.decode(id, v, m)
}

// checkExpiry does not miss records: what was renewed has another entry, and what
// was withdrawn has gone.
func checkExpiry(c *checker, k, _ []byte) {
	if len(k) <= 8 || !bytes.Contains(k[8:], zero) {
		c.bad("", expiryAdvice, "the entry is broken")
	}
}
