package bolt

import (
	"context"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
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

// beginDays starts counting by day in a file that did not: orders that are open
// count as due on their day, like those that will be taken from now on. A day
// before the first that is counted gets nothing: a window would add it to its
// totals and show it on none of its days.
func beginDays(tx *group.Tx, m *recordv1.Meta, today coverage.Day) error {
	if m.FirstCountedDay != nil {
		return nil
	}
	m.FirstCountedDay = proto.Int32(int32(today))
	counts := newCounts()
	c := tx.Bucket(bucketOrdersLate).Cursor()
	for k, id := c.First(); k != nil; k, id = c.Next() {
		if cell := (coverage.Cell{Platform: platform.ID(id), Day: coverage.DueDay(keyTime(k))}); cell.Day >= today {
			counts.day(cell, coverage.Unbinds{Due: 1}, true)
		}
	}
	return counts.write(tx)
}
