package bolt

import (
	"bytes"
	"fmt"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/unbind"
)

// orderIndex is an index over the orders. What an order has to have in it follows
// from the order alone (see entries), so both directions are one comparison.
type orderIndex struct {
	bucket []byte
	// id is the end of an entry's key that is the order's; false where it has none.
	id func(k []byte) (string, bool)
}

// orderIndexes has every bucket that entries writes to.
func orderIndexes() []orderIndex {
	return []orderIndex{
		{bucketOrdersDue, idAfterPlatform}, {bucketOrdersLate, idAfter(8)}, {bucketOrdersOf, idAfter(32)}, {bucketOrdersDead, idAfterPlatform},
	}
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
func (c *checker) indexed(o unbind.Order) {
	for _, e := range entries(o) {
		switch got := c.get(e.bucket, e.key); {
		case got == nil:
			c.bad(o.ID, indexAdvice, "its entry in %s is missing", e.bucket)
		case !bytes.Equal(got, e.value):
			c.bad(o.ID, indexAdvice, "its entry in %s says something else", e.bucket)
		}
	}
}

// check checks that an entry belongs to an order that has to have it.
func (x orderIndex) check(c *checker, k, v []byte) {
	if !c.r.Current {
		return
	}
	id, ok := x.id(k)
	if !ok {
		c.bad("", indexAdvice, "the entry is broken")
		return
	}
	r := new(recordv1.Order)
	found, err := load(c.tx, bucketOrders, []byte(id), r)
	if err == nil && !found {
		c.bad(id, orderAdvice, "there is an entry, but no such order")
		return
	}
	o, ferr := frame(id, r)
	if err != nil || ferr != nil {
		return // said so where the order was checked
	}
	if len(without([]entry{{x.bucket, k, v}}, entries(o))) > 0 {
		c.bad(id, indexAdvice, "the order should not have this entry")
	}
}

// count adds an order to the tally of its platform.
func (c *checker) count(o unbind.Order) {
	t := c.tallies[string(o.Platform)]
	if t == nil {
		t = new(recordv1.OrderTally)
		c.tallies[string(o.Platform)] = t
	}
	*stateField(t, o.State)++
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

// tallyFlaw compares by state; a tally also counts orders that were swept once
// they had ended long ago.
func tallyFlaw(t, counted *recordv1.OrderTally) string {
	for s := unbind.Queued; s.String() != ""; s++ {
		has, is := *stateField(t, s), *stateField(counted, s)
		if has < is || has > is && !s.Final() {
			return fmt.Sprintf("it says %d orders where %d are %s", has, is, s)
		}
	}
	return ""
}
