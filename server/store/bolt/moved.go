package bolt

import (
	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// moved is an order's move, noted for the counts. The ID of before is "" for a new
// order.
type moved struct{ before, after unbind.Order }

// settle counts the moves of a group: each platform and each day is written once,
// however many orders moved.
func settle(tx *group.Tx, notes []any) error {
	c := newCounts()
	for _, n := range notes {
		if m, ok := n.(moved); ok {
			c.move(m.before, m.after)
		}
	}
	return c.write(tx)
}

// counts are changes of the counts of orders.
type counts struct {
	states map[platform.ID]*recordv1.OrderTally
	days   map[coverage.Cell]*dayCount
}

// dayCount is the change of one day's counts.
type dayCount struct {
	coverage.Unbinds
	begins bool // a day that is not kept is begun; otherwise what is not kept any more is left alone
}

func newCounts() *counts {
	return &counts{states: make(map[platform.ID]*recordv1.OrderTally), days: make(map[coverage.Cell]*dayCount)}
}

func (c *counts) day(cell coverage.Cell, more coverage.Unbinds, begins bool) {
	d := c.days[cell]
	if d == nil {
		d = new(dayCount)
		c.days[cell] = d
	}
	d.Merge(more)
	d.begins = d.begins || begins
}

// move counts an order's move on the days it belongs to. What leaves its end, such
// as an order that is replayed, is counted as if it had not ended.
func (c *counts) move(before, o unbind.Order) {
	isNew := before.ID == ""
	if !isNew && before.State == o.State {
		return
	}
	t := c.states[o.Platform]
	if t == nil {
		t = new(recordv1.OrderTally)
		c.states[o.Platform] = t
	}
	*stateField(t, o.State)++
	if isNew {
		c.day(coverage.Cell{Platform: o.Platform, Day: coverage.DayOf(o.CreateTime)}, coverage.Unbinds{Taken: 1}, true)
		c.day(dueCell(o), coverage.Unbinds{Due: 1}, true)
	} else {
		*stateField(t, before.State)--
		if before.State.Final() {
			c.end(before, -1)
			c.dueAnew(before, o)
		}
	}
	if o.State.Final() {
		c.end(o, 1)
	}
}

// dueAnew counts an order that is due anew, such as one that was appealed, on its
// new day alone.
func (c *counts) dueAnew(before, o unbind.Order) {
	if was, is := dueCell(before), dueCell(o); was != is {
		c.day(was, coverage.Unbinds{Due: -1}, false)
		c.day(is, coverage.Unbinds{Due: 1}, true)
	}
}

// end counts an end, or with n of -1 takes it back.
func (c *counts) end(o unbind.Order, n int64) {
	var ended, due coverage.Unbinds
	settled := false // by the platform's own word
	switch o.State {
	case unbind.Completed:
		ended.Completed, settled = n, true
	case unbind.Refused:
		ended.Refused, settled = map[string]int64{o.RefusalReason: n}, true
	case unbind.Abandoned:
		ended.Abandoned = n
	case unbind.Cancelled:
		ended.Cancelled, due.Due = n, -n
	}
	if settled {
		ended.Ends[coverage.EndBucket(o.StateTime.Sub(o.CreateTime))] = n
		if !o.StateTime.After(o.DueTime) {
			due.OnTime = n
		}
	}
	c.day(coverage.Cell{Platform: o.Platform, Day: coverage.DayOf(o.StateTime)}, ended, n > 0)
	if due.Due != 0 || due.OnTime != 0 {
		c.day(dueCell(o), due, false)
	}
}

func dueCell(o unbind.Order) coverage.Cell {
	return coverage.Cell{Platform: o.Platform, Day: coverage.DueDay(o.DueTime)}
}

// write adds the changes to what is on disk. A record that can't be read is left
// for a check of the file to find: a count shall not keep orders from moving.
func (c *counts) write(tx *group.Tx) error {
	for p, more := range c.states {
		t := new(recordv1.OrderTally)
		if _, err := load(tx, bucketOrderTallies, []byte(p), t); err != nil {
			continue
		}
		t.Queued += more.Queued
		t.InReview += more.InReview
		t.Completed += more.Completed
		t.Refused += more.Refused
		t.Abandoned += more.Abandoned
		t.Cancelled += more.Cancelled
		if err := save(tx, bucketOrderTallies, []byte(p), t); err != nil {
			return err
		}
	}
	for cell, more := range c.days {
		if err := more.write(tx, cell); err != nil {
			return err
		}
	}
	return nil
}

func (d *dayCount) write(tx *group.Tx, cell coverage.Cell) error {
	k := dayKey(cell)
	if !d.begins && tx.Bucket(bucketUnbindDays).Get(k) == nil {
		return nil
	}
	u, err := loadUnbinds(tx, k)
	if err != nil {
		return nil
	}
	if err := keepDay(tx, bucketUnbindDays, cell); err != nil {
		return err
	}
	u.Merge(d.Unbinds)
	return save(tx, bucketUnbindDays, k, &recordv1.UnbindTally{
		Taken: u.Taken, Completed: u.Completed, Refused: u.Refused, Abandoned: u.Abandoned, Cancelled: u.Cancelled,
		Due: u.Due, OnTime: u.OnTime, Buckets: u.Ends[:],
	})
}

func stateField(t *recordv1.OrderTally, s unbind.State) *int32 {
	switch s {
	case unbind.Completed:
		return &t.Completed
	case unbind.Refused:
		return &t.Refused
	case unbind.Abandoned:
		return &t.Abandoned
	case unbind.Cancelled:
		return &t.Cancelled
	case unbind.InReview, unbind.ActionRequired:
		return &t.InReview
	}
	return &t.Queued
}
