package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// Counts by day lie under the day first, so that a window is one walk and the
// oldest go first. The sweep takes them out when they are too old.

// dayKey is 4 bytes, big endian, days since 1970 with the sign turned, so that
// keys sort by day, and the platform.
func dayKey(c coverage.Cell) []byte {
	return key(dayPrefix(c.Day), []byte(c.Platform))
}

func dayPrefix(d coverage.Day) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(d)^1<<31)
}

func keyCell(k []byte) coverage.Cell {
	return coverage.Cell{Day: coverage.Day(binary.BigEndian.Uint32(k) ^ 1<<31), Platform: platform.ID(k[4:])}
}

// keepDay notes, for a record that is about to be made, when it is too old.
func keepDay(tx *group.Tx, bucket []byte, c coverage.Cell) error {
	k := dayKey(c)
	if tx.Bucket(bucket).Get(k) != nil {
		return nil
	}
	return expires(tx, (c.Day + coverage.KeptDays).Start(), bucket, k)
}

// EachDay implements coverage.Store.
func (s *Store) EachDay(
	ctx context.Context, from, to coverage.Day, asked func(coverage.Cell, coverage.Tally), ordered func(coverage.Cell, coverage.Unbinds),
) (first coverage.Day, err error) {
	err = s.db.View(ctx, func(tx *group.Tx) error {
		m := new(recordv1.Meta)
		if _, err := load(tx, bucketMeta, metaKey, m); err != nil {
			return err
		}
		first = coverage.Day(m.GetFirstCountedDay())
		err := eachKey(tx, bucketLookupDays, from, to, func(k []byte) error {
			t, err := loadTally(tx, bucketLookupDays, k)
			if err == nil {
				asked(keyCell(k), t)
			}
			return err
		})
		if err != nil {
			return err
		}
		return eachKey(tx, bucketUnbindDays, from, to, func(k []byte) error {
			u, err := loadUnbinds(tx, k)
			if err == nil {
				ordered(keyCell(k), u)
			}
			return err
		})
	})
	return first, err
}

func eachKey(tx *group.Tx, bucket []byte, from, to coverage.Day, visit func(k []byte) error) error {
	c := tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(dayPrefix(from)); k != nil && keyCell(k).Day <= to; k, _ = c.Next() {
		if err := visit(k); err != nil {
			return err
		}
	}
	return nil
}

func loadUnbinds(tx *group.Tx, k []byte) (coverage.Unbinds, error) {
	r := new(recordv1.UnbindTally)
	if _, err := load(tx, bucketUnbindDays, k, r); err != nil {
		return coverage.Unbinds{}, err
	}
	u := coverage.Unbinds{
		Taken: r.GetTaken(), Completed: r.GetCompleted(), Refused: r.GetRefused(), Abandoned: r.GetAbandoned(), Cancelled: r.GetCancelled(),
		Due: r.GetDue(), OnTime: r.GetOnTime(),
	}
	copy(u.Ends[:], r.GetBuckets())
	return u, nil
}

// addUnbinds adds to the counts of a day, which may be long ago: what is not
// kept any more is not taken back.
func addUnbinds(tx *group.Tx, c coverage.Cell, more coverage.Unbinds, takeBack bool) error {
	k := dayKey(c)
	if takeBack && tx.Bucket(bucketUnbindDays).Get(k) == nil {
		return nil
	}
	if err := keepDay(tx, bucketUnbindDays, c); err != nil {
		return err
	}
	u, err := loadUnbinds(tx, k)
	if err != nil {
		return err
	}
	u.Merge(more)
	return save(tx, bucketUnbindDays, k, &recordv1.UnbindTally{
		Taken: u.Taken, Completed: u.Completed, Refused: u.Refused, Abandoned: u.Abandoned, Cancelled: u.Cancelled,
		Due: u.Due, OnTime: u.OnTime, Buckets: u.Ends[:],
	})
}

// tallyDays counts an order's move on the days it belongs to. What leaves its end,
// such as an order that is replayed, is counted as if it had not ended.
func tallyDays(tx *group.Tx, before, o unbind.Order) error {
	if before.ID == "" {
		taken, due := coverage.Unbinds{Taken: 1}, coverage.Unbinds{Due: 1}
		if err := addUnbinds(tx, coverage.Cell{Platform: o.Platform, Day: coverage.DayOf(o.CreateTime)}, taken, false); err != nil {
			return err
		}
		if err := addUnbinds(tx, dueCell(o), due, false); err != nil {
			return err
		}
	}
	if before.State.Final() && before.ID != "" {
		if err := tallyEnd(tx, before, -1); err != nil {
			return err
		}
		if err := moveDue(tx, before, o); err != nil {
			return err
		}
	}
	if o.State.Final() {
		return tallyEnd(tx, o, 1)
	}
	return nil
}

// moveDue counts an order that is due anew, such as one that was appealed, on its
// new day alone.
func moveDue(tx *group.Tx, before, o unbind.Order) error {
	was, is := dueCell(before), dueCell(o)
	if was == is {
		return nil
	}
	if err := addUnbinds(tx, was, coverage.Unbinds{Due: -1}, true); err != nil {
		return err
	}
	return addUnbinds(tx, is, coverage.Unbinds{Due: 1}, false)
}

func dueCell(o unbind.Order) coverage.Cell {
	return coverage.Cell{Platform: o.Platform, Day: coverage.DueDay(o.DueTime)}
}

// tallyEnd counts an end, or with n of -1 takes it back.
func tallyEnd(tx *group.Tx, o unbind.Order, n int64) error {
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
	if err := addUnbinds(tx, coverage.Cell{Platform: o.Platform, Day: coverage.DayOf(o.StateTime)}, ended, n < 0); err != nil {
		return err
	}
	if due.Due == 0 && due.OnTime == 0 {
		return nil
	}
	return addUnbinds(tx, dueCell(o), due, true)
}

// beginDays starts counting by day in a file that did not: orders that are open
// count as due on their day, like those that will be taken from now on. A day
// before the first that is counted gets nothing: a window would add it to its
// totals and show it on none of its days.
func beginDays(tx *group.Tx, m *recordv1.Meta) error {
	if m.FirstCountedDay != nil {
		return nil
	}
	today := coverage.DayOf(time.Now())
	m.FirstCountedDay = proto.Int32(int32(today))
	c := tx.Bucket(bucketOrdersLate).Cursor()
	for k, id := c.First(); k != nil; k, id = c.Next() {
		cell := coverage.Cell{Platform: platform.ID(id), Day: coverage.DueDay(keyTime(k))}
		if cell.Day < today {
			continue
		}
		if err := addUnbinds(tx, cell, coverage.Unbinds{Due: 1}, false); err != nil {
			return err
		}
	}
	return nil
}
