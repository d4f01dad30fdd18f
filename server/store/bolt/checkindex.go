package bolt

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/unbind"
)

// orderIndex is an index over the orders. What an order has to have in it follows
// from the order alone, so one function checks both directions.
type orderIndex struct {
	bucket []byte
	// entry is what the order has there; a nil key where it has nothing.
	entry func(*recordv1.Order) (k, v []byte)
	// id is the end of an entry's key that is the order's; false where it has none.
	id func(k []byte) (string, bool)
}

// orderIndexes has every index over the orders.
func orderIndexes() []orderIndex {
	return []orderIndex{
		{bucketOrdersDue, dueEntryOf, idAfterPlatform},
		{bucketOrdersLate, lateEntryOf, idAfter(8)},
		{bucketOrdersOf, subjectEntryOf, idAfter(32)},
		{bucketOrdersDead, deadEntryOf, idAfterPlatform},
	}
}

func isOpen(r *recordv1.Order) bool { return !unbind.State(r.GetState()).Final() }

func dueEntryOf(r *recordv1.Order) (k, v []byte) {
	if !isOpen(r) {
		return nil, nil
	}
	return key([]byte(r.GetPlatformId()), zero, timeKey(moment(r.GetNextTime())), []byte(r.GetOrderId())), nil
}

func lateEntryOf(r *recordv1.Order) (k, v []byte) {
	if !isOpen(r) {
		return nil, nil
	}
	return key(timeKey(moment(r.GetDueTime())), []byte(r.GetOrderId())), []byte(r.GetPlatformId())
}

func subjectEntryOf(r *recordv1.Order) (k, v []byte) {
	return key(r.GetSubject(), []byte(r.GetOrderId())), []byte(r.GetPlatformId())
}

func deadEntryOf(r *recordv1.Order) (k, v []byte) {
	if unbind.State(r.GetState()) != unbind.Abandoned {
		return nil, nil
	}
	return key([]byte(r.GetPlatformId()), zero, timeKey(moment(r.GetStateTime())), []byte(r.GetOrderId())), []byte(lastReason(r))
}

// lastReason is why the order is where it is.
func lastReason(r *recordv1.Order) string {
	h := r.GetHistory()
	if len(h) == 0 {
		return ""
	}
	return h[len(h)-1].GetReason()
}

func idAfter(n int) func([]byte) (string, bool) {
	return func(k []byte) (string, bool) {
		if len(k) <= n {
			return "", false
		}
		return string(k[n:]), true
	}
}

// idAfterPlatform is the id of a key that begins with platform, 0 and a time.
func idAfterPlatform(k []byte) (string, bool) {
	_, rest, ok := bytes.Cut(k, zero)
	if !ok {
		return "", false
	}
	return idAfter(8)(rest)
}

// indexed checks that an order is in every index it belongs into.
func (c *checker) indexed(r *recordv1.Order) {
	for _, x := range orderIndexes() {
		k, v := x.entry(r)
		if k == nil || !c.tx.Has(x.bucket) {
			continue
		}
		switch got := c.tx.Bucket(x.bucket).Get(k); {
		case got == nil:
			c.bad(r.GetOrderId(), indexAdvice, "its entry in %s is missing", x.bucket)
		case !bytes.Equal(got, v):
			c.bad(r.GetOrderId(), indexAdvice, "its entry in %s says something else", x.bucket)
		}
	}
}

// check checks that an entry belongs to an order that has to have it.
func (x orderIndex) check(c *checker, k, _ []byte) {
	if !c.r.Current {
		return
	}
	id, ok := x.id(k)
	if !ok {
		c.bad("", indexAdvice, "the entry is broken")
		return
	}
	r := new(recordv1.Order)
	raw := c.get(bucketOrders, []byte(id))
	if raw == nil {
		c.bad(id, orderAdvice, "there is an entry, but no such order")
		return
	}
	if proto.Unmarshal(raw, r) != nil {
		return // said so where the order was checked
	}
	if want, _ := x.entry(r); !bytes.Equal(want, k) {
		c.bad(id, indexAdvice, "the order should not have this entry")
	}
}

// count adds an order to the tally of its platform.
func (c *checker) count(r *recordv1.Order) {
	t := c.tallies[r.GetPlatformId()]
	if t == nil {
		t = new(recordv1.OrderTally)
		c.tallies[r.GetPlatformId()] = t
	}
	*tallyField(t, unbind.State(r.GetState()))++
}

// checkOrderTally holds what is written against what was counted.
func checkOrderTally(c *checker, k, v []byte) {
	t, id := new(recordv1.OrderTally), string(k)
	if !c.decode(id, v, t) {
		return
	}
	counted := c.tallies[id]
	delete(c.tallies, id)
	if counted == nil {
		counted = new(recordv1.OrderTally)
	}
	if text := tallyFlaw(t, counted); text != "" {
		c.bad(id, tallyAdvice, "%s", text)
	}
}

// checkTallies finds platforms that have orders and no tally.
func (c *checker) checkTallies() {
	for id := range c.tallies {
		c.r.add(Problem{Bucket: string(bucketOrderTallies), Record: id, Text: "it has orders and no tally, so none of them is claimed", Action: orderAdvice})
	}
}

func tallyFlaw(t, counted *recordv1.OrderTally) string {
	for s := unbind.Queued; s.String() != ""; s++ {
		if has, is := *tallyField(t, s), *tallyField(counted, s); has != is {
			return fmt.Sprintf("it says %d orders where %d are %s", has, is, s)
		}
	}
	return ""
}
