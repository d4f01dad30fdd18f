package bolt

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// A database that was restored says what was so at the time of the backup. Most of
// that may be said again: orders are sent again under the same ids, and a platform
// answers a repeat as it answered before. What may not:
//   - a code or a session that was used up or ended since would be good again: all
//     of them end, and people verify once more;
//   - an order that was never sent may have been sent since: none can be cancelled;
//   - whoever held a number may not hold it any more: before an order is sent its
//     holder is checked, whatever was known;
//   - tokens and runs would come again: the count of openings jumps ahead;
//   - a message about late answers may have been sent: it is not sent again.
//
// Where the present database can still be read, what limits people and platforms is
// taken from it: orders that were cancelled since stay cancelled, platforms that
// were suspended since stay suspended, counters are not lowered.

// batch is how many records one transaction changes.
const batch = 512

// rewinding changes a copy of a backup.
type rewinding struct {
	ctx     context.Context
	s       *Store
	past    *Store    // reads the present database's secrets
	present *group.Tx // nil where it can't be read
	out     *Restored
}

func (w *rewinding) run() error {
	for _, step := range []func() error{
		w.count, w.endSessions, w.orders, w.messages, w.counters, w.platforms, w.jump,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// each calls change for every key of a bucket, in transactions of some of them.
// change may replace or delete its key, and no other of the bucket.
func (w *rewinding) each(bucket []byte, change func(tx *group.Tx, k []byte) error) error {
	for from := []byte(nil); ; {
		n := 0
		err := w.s.db.Update(w.ctx, func(tx *group.Tx) error {
			var keys [][]byte
			c := tx.Bucket(bucket).Cursor()
			for k, _ := c.Seek(from); k != nil && len(keys) < batch; k, _ = c.Next() {
				keys = append(keys, bytes.Clone(k))
			}
			for _, k := range keys {
				if err := change(tx, k); err != nil {
					return err
				}
				from = append(bytes.Clone(k), 0) // the next key there can be
			}
			n = len(keys)
			return nil
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// endSessions removes codes and sessions. The numbers' guards stay: they limit.
func (w *rewinding) endSessions() error {
	for _, b := range [][]byte{bucketVerifications, bucketSessions} {
		err := w.each(b, func(tx *group.Tx, k []byte) error {
			w.out.Voided++
			return tx.Bucket(b).Delete(k)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *rewinding) orders() error {
	return w.each(bucketOrders, func(tx *group.Tx, k []byte) error {
		r := new(recordv1.Order)
		if _, err := load(tx, bucketOrders, k, r); err != nil || unbind.State(r.GetState()).Final() {
			return err
		}
		if now, ok := w.cancelled(string(k)); ok {
			w.out.Cancelled++
			return w.replace(tx, k, now)
		}
		w.out.Open++
		r.Sent, r.HolderCheckTime, r.HolderCheckNanos = true, nil, 0
		return save(tx, bucketOrders, k, r)
	})
}

// replace puts an order in the place of what the backup knows of it.
func (w *rewinding) replace(tx *group.Tx, id []byte, o unbind.Order) error {
	c := change{raw: bytes.Clone(tx.Bucket(bucketOrders).Get(id)), after: o, moved: true}
	var err error
	if c.before, err = w.s.openOrder(string(id), c.raw); err != nil {
		return err
	}
	sealed, err := w.s.sealOrder(o)
	if err != nil {
		return err
	}
	if c.record, err = orderRecord(o, sealed); err != nil {
		return err
	}
	had, has := entries(c.before), entries(o)
	c.del, c.put = without(had, has), without(has, had)
	return c.write(tx)
}

// cancelled returns an order as the present database has it, where that is
// cancelled.
func (w *rewinding) cancelled(id string) (unbind.Order, bool) {
	if w.present == nil || !w.present.Has(bucketOrders) {
		return unbind.Order{}, false
	}
	o, err := w.past.getOrder(w.present, id)
	return o, err == nil && o.State == unbind.Cancelled
}

// count counts the orders of the present database that the backup lacks.
func (w *rewinding) count() error {
	if w.present == nil || !w.present.Has(bucketOrders) {
		return nil
	}
	return w.s.db.View(w.ctx, func(tx *group.Tx) error {
		return w.present.Bucket(bucketOrders).ForEach(func(k, _ []byte) error {
			if tx.Bucket(bucketOrders).Get(k) == nil {
				w.out.Lost++
			}
			return w.ctx.Err()
		})
	})
}

func (w *rewinding) messages() error {
	return w.each(bucketLookups, func(tx *group.Tx, k []byte) error {
		r := new(recordv1.Lookup)
		if _, err := load(tx, bucketLookups, k, r); err != nil || !r.GetComplete() {
			return err
		}
		l, err := w.s.lookupFrom(string(k), r)
		if err != nil || !l.OwesMessage() {
			return err
		}
		before := l.Wakes()
		l = l.Claimed()
		if err := moveWakes(tx, l.ID, before, l.Wakes()); err != nil {
			return err
		}
		record, err := w.s.lookupRecord(l)
		if err != nil {
			return err
		}
		return save(tx, bucketLookups, k, record)
	})
}

// counters takes over counts that are higher, or that the backup lacks.
func (w *rewinding) counters() error {
	if w.present == nil || !w.present.Has(bucketCounters) {
		return nil
	}
	now := time.Now()
	var all [][2][]byte
	err := w.present.Bucket(bucketCounters).ForEach(func(k, v []byte) error {
		all = append(all, [2][]byte{k, v}) // of a file that nobody writes to
		return nil
	})
	if err != nil {
		return err
	}
	for from := 0; from < len(all); from += batch {
		err := w.s.db.Update(w.ctx, func(tx *group.Tx) error {
			for _, e := range all[from:min(from+batch, len(all))] {
				if err := keepCount(tx, e[0], e[1], now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func keepCount(tx *group.Tx, k, v []byte, now time.Time) error {
	is, was := new(recordv1.Counter), new(recordv1.Counter)
	if proto.Unmarshal(v, is) != nil || !moment(is.GetExpireTime()).After(now) {
		return nil
	}
	if found, err := load(tx, bucketCounters, k, was); err != nil || found && was.GetCount() >= is.GetCount() && moment(was.GetExpireTime()).After(now) {
		return err
	}
	if err := expires(tx, moment(is.GetExpireTime()), bucketCounters, k); err != nil {
		return err
	}
	return save(tx, bucketCounters, bytes.Clone(k), is)
}

// platforms keeps those suspended that were suspended since.
func (w *rewinding) platforms() error {
	if w.present == nil || !w.present.Has(bucketPlatforms) {
		return nil
	}
	return w.each(bucketPlatforms, func(tx *group.Tx, k []byte) error {
		is, was := new(recordv1.Platform), new(recordv1.Platform)
		if v := w.present.Bucket(bucketPlatforms).Get(k); v == nil || proto.Unmarshal(v, is) != nil || !is.GetSuspended() {
			return nil
		}
		if _, err := load(tx, bucketPlatforms, k, was); err != nil || was.GetSuspended() {
			return err
		}
		was.Suspended, was.SuspendReason = true, is.GetSuspendReason()
		w.out.Suspended = append(w.out.Suspended, string(k))
		return save(tx, bucketPlatforms, k, was)
	})
}

// jump moves the count of openings beyond all there have been, and does not set the
// hub's time back.
func (w *rewinding) jump() error {
	return w.s.db.Update(w.ctx, func(tx *group.Tx) error {
		m, is := new(recordv1.Meta), new(recordv1.Meta)
		if _, err := load(tx, bucketMeta, metaKey, m); err != nil {
			return err
		}
		if w.present != nil {
			if _, err := load(w.present, bucketMeta, metaKey, is); err != nil {
				return err
			}
		}
		m.Opens = max(m.GetOpens(), is.GetOpens()) + opensAhead
		if is.GetLargestTime() != nil && moment(is.GetLargestTime()).After(moment(m.GetLargestTime())) {
			m.LargestTime = is.GetLargestTime()
		}
		return save(tx, bucketMeta, metaKey, m)
	})
}
