package bolt

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// looksAtOnce bounds what one transaction of OpenOrders reads: an old one keeps
// pages from being used again.
const looksAtOnce = 20_000

// OpenOrders returns open orders, the oldest due first, at most q.Limit, and where
// to go on ("" at the end). What is sealed in them stays so: they have no number
// and no account. A query that few orders meet reads all before them.
func (s *Store) OpenOrders(ctx context.Context, q unbind.OpenOrderQuery) ([]unbind.Order, string, error) {
	l := openLook{q: q, s: s, now: s.clock.Now()}
	l.sending = s.leases.ids(l.now)
	var err error
	if l.at, err = hex.DecodeString(q.After); err != nil {
		l.at = nil // from the beginning
	}
	for more := true; more; {
		err := s.db.View(ctx, func(tx *group.Tx) error {
			more = l.some(tx)
			return ctx.Err()
		})
		if err != nil {
			return nil, "", err
		}
	}
	return l.out, l.next, nil
}

// openLook is a look at the open orders that goes on from transaction to
// transaction.
type openLook struct {
	q       unbind.OpenOrderQuery
	s       *Store
	now     time.Time
	sending map[string]bool
	at      []byte // the last entry seen
	last    []byte // that of the last order found
	out     []unbind.Order
	next    string
}

// some looks at the next entries and reports whether there may be more to see.
func (l *openLook) some(tx *group.Tx) bool {
	c := tx.Bucket(bucketOrdersLate).Cursor()
	k, p := c.Seek(l.at)
	if k != nil && string(k) == string(l.at) {
		k, p = c.Next()
	}
	for n := 0; k != nil; k, p = c.Next() {
		if l.q.Overdue && !keyTime(k).Before(l.now) {
			return false
		}
		if n == looksAtOnce {
			return true
		}
		n++
		if o, ok := l.found(tx, string(k[8:]), platform.ID(p)); ok {
			if len(l.out) == l.q.Limit {
				l.next = hex.EncodeToString(l.last)
				return false
			}
			l.out, l.last = append(l.out, o), append([]byte(nil), k...)
		}
		l.at = append(l.at[:0], k...)
	}
	return false
}

// found reads an order without opening it. One whose record is broken is left
// out: a check of the file names it.
func (l *openLook) found(tx *group.Tx, id string, at platform.ID) (unbind.Order, bool) {
	if l.q.Platform != "" && l.q.Platform != at {
		return unbind.Order{}, false
	}
	r, err := decodeOrder(id, tx.Bucket(bucketOrders).Get([]byte(id)))
	if err != nil {
		return unbind.Order{}, false
	}
	o, err := frame(id, r)
	if err != nil {
		return unbind.Order{}, false
	}
	if o.State.Rank() == unbind.Queued.Rank() && l.sending[id] {
		o.State = unbind.Sending
	}
	return o, l.q.State == 0 || l.q.State == o.State
}
