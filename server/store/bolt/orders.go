package bolt

import (
	"bytes"
	"context"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.Orders = (*Store)(nil)

// Order implements unbind.Orders.
func (s *Store) Order(ctx context.Context, subject phone.Subject, id string) (unbind.Order, error) {
	o, err := s.AnyOrder(ctx, id)
	if err == nil && o.Subject != subject {
		return unbind.Order{}, fault.UnbindNotFound.New()
	}
	return o, err
}

// AnyOrder returns an order whoever made it, for the operator.
//
// Errors: fault.UnbindNotFound.
func (s *Store) AnyOrder(ctx context.Context, id string) (unbind.Order, error) {
	// Looked at before the record, too: an attempt that ends in between was under way
	// when the record was read.
	sending := s.leases.live(id, s.clock.Now())
	var o unbind.Order
	err := s.db.View(ctx, func(tx *group.Tx) error {
		var err error
		o, err = s.getOrder(tx, id)
		return err
	})
	o = s.shown(o, s.clock.Now())
	if sending && o.State.Rank() == unbind.Queued.Rank() && err == nil {
		o.State = unbind.Sending
	}
	return o, err
}

// OrdersOf implements unbind.Orders. Leases are looked at after the transaction:
// Claim holds their lock while it waits for one of its own.
func (s *Store) OrdersOf(ctx context.Context, subject phone.Subject, before string, limit int) ([]unbind.Order, error) {
	var out []unbind.Order
	err := s.db.View(ctx, func(tx *group.Tx) error {
		c := tx.Bucket(bucketOrdersOf).Cursor()
		for k, _ := seekBelow(c, subject[:], before); bytes.HasPrefix(k, subject[:]) && len(out) < limit; k, _ = c.Prev() {
			o, err := s.getOrder(tx, string(k[len(subject):]))
			if err != nil {
				return err
			}
			out = append(out, o)
		}
		return nil
	})
	now := s.clock.Now()
	for i := range out {
		out[i] = s.shown(out[i], now)
	}
	return out, err
}

// seekBelow finds the last entry with the prefix whose rest is below before, or
// the last of all for "".
func seekBelow(c group.Cursor, prefix []byte, before string) (k, v []byte) {
	end := key(prefix, []byte(before))
	if before == "" {
		end = key(prefix, []byte{0xff})
	}
	if k, _ := c.Seek(end); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// AllOrders returns orders of everybody, newest first, at most limit, for the
// operator. The zero platform or state stands for all.
func (s *Store) AllOrders(ctx context.Context, p platform.ID, state unbind.State, limit int) ([]unbind.Order, error) {
	var out []unbind.Order
	sending := s.leases.ids(s.clock.Now())
	err := s.db.View(ctx, func(tx *group.Tx) error {
		c := tx.Bucket(bucketOrders).Cursor()
		for k, _ := c.Last(); k != nil && len(out) < limit; k, _ = c.Prev() {
			o, err := s.getOrder(tx, string(k))
			if err != nil {
				return err
			}
			if o.State.Rank() == unbind.Queued.Rank() && sending[o.ID] {
				o.State = unbind.Sending
			}
			if (p == "" || o.Platform == p) && (state == 0 || o.State == state) {
				out = append(out, o)
			}
		}
		return nil
	})
	return out, err
}

// Sending counts the orders being sent right now, by platform.
func (s *Store) Sending(now time.Time) map[platform.ID]int64 { return s.leases.sending(now) }

// OrderCounts implements coverage.Store.
func (s *Store) OrderCounts(ctx context.Context, now time.Time) (map[platform.ID]coverage.Orders, error) {
	out := make(map[platform.ID]coverage.Orders)
	err := s.db.View(ctx, func(tx *group.Tx) error {
		err := tx.Bucket(bucketOrderTallies).ForEach(func(k, _ []byte) error {
			t := new(recordv1.OrderTally)
			if _, err := load(tx, bucketOrderTallies, k, t); err != nil {
				return err
			}
			out[platform.ID(k)] = coverage.Orders{
				Queued: int64(t.GetQueued()), InReview: int64(t.GetInReview()), Completed: int64(t.GetCompleted()),
				Refused: int64(t.GetRefused()), Abandoned: int64(t.GetAbandoned()), Cancelled: int64(t.GetCancelled()),
			}
			return nil
		})
		if err != nil {
			return err
		}
		c := tx.Bucket(bucketOrdersLate).Cursor()
		for k, p := c.First(); k != nil && keyTime(k).Before(now); k, p = c.Next() {
			o := out[platform.ID(p)]
			o.Overdue++
			out[platform.ID(p)] = o
		}
		return nil
	})
	return out, err
}
