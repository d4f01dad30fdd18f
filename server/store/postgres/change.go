//go:build postgres

package postgres

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var (
	_ unbind.Queue  = (*Store)(nil)
	_ unbind.Orders = (*Store)(nil)
)

// held is an order and who has it.
type held struct {
	order  unbind.Order
	token  int64
	live   bool // a lease that is not over
	leased bool // a lease, or one whose holder was lost
}

// forUpdate makes held lock the order.
const forUpdate = " FOR UPDATE"

// held reads an order. Errors: fault.UnbindNotFound.
func (s *Store) held(ctx context.Context, tx pgx.Tx, id string, now time.Time, lock string) (held, error) {
	var h held
	var record []byte
	err := tx.QueryRow(ctx, `SELECT record, token, coalesce(lease_until > $2, false), lease_until IS NOT NULL FROM orders WHERE id = $1`+lock, id, now).
		Scan(&record, &h.token, &h.live, &h.leased)
	if errors.Is(err, pgx.ErrNoRows) {
		return held{}, fault.UnbindNotFound.New()
	}
	if err != nil {
		return held{}, err
	}
	h.order, err = s.decode(id, record)
	return h, err
}

// change applies a transition to an order where may lets it; done says that it is
// so already. What changes nothing writes nothing.
func (s *Store) change(ctx context.Context, id string, t unbind.Transition, may func(held) (done bool, err error)) (unbind.Order, bool, error) {
	var o unbind.Order
	var changed bool
	err := s.update(ctx, func(ctx context.Context, tx pgx.Tx) error {
		h, err := s.held(ctx, tx, id, s.clock.Now(), forUpdate)
		if err != nil {
			return err
		}
		done, err := may(h)
		o = shown(h.order, h.live)
		if err != nil || done {
			return err
		}
		after := applied(h.order, t)
		changed = after.State != h.order.State
		o = shown(after, h.live)
		if reflect.DeepEqual(h.order, after) {
			return nil
		}
		return s.put(ctx, tx, after)
	})
	if err != nil {
		return unbind.Order{}, false, err
	}
	return o, changed, nil
}

// applied is the order after the transition.
func applied(o unbind.Order, t unbind.Transition) unbind.Order {
	o.History = slices.Clone(o.History)
	o.Apply(t)
	return o
}

func (s *Store) put(ctx context.Context, tx pgx.Tx, o unbind.Order) error {
	r, err := s.rowOf(o)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE orders SET next_time = $2, state_time = $3, dead_reason = $4, record = $5 WHERE id = $1`,
		r.id, r.next, r.state, r.dead, r.record)
	return err
}

// Finish implements unbind.Queue. The order is read before, since a report may
// have come in meanwhile; the fence is in the write as well.
func (s *Store) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	var o unbind.Order
	err := s.update(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.clock.Now()
		h, err := s.held(ctx, tx, c.Order.ID, now, forUpdate)
		if err != nil {
			return err
		}
		if !h.live || h.token != int64(c.Token) {
			return fault.LeaseLost.New()
		}
		o = applied(h.order, t)
		r, err := s.rowOf(o)
		if err != nil {
			return err
		}
		var id string
		err = tx.QueryRow(ctx, `
UPDATE orders SET next_time = $3, state_time = $4, dead_reason = $5, record = $6, lease_until = NULL, in_doubt = false
WHERE id = $1 AND token = $2 AND lease_until > $7 RETURNING id`, r.id, int64(c.Token), r.next, r.state, r.dead, r.record, now).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.LeaseLost.New()
		}
		if err == nil && t.HolderGone() && o.State.Final() {
			err = s.doubtHolder(ctx, tx, o)
		}
		return err
	})
	if err != nil {
		return unbind.Order{}, err
	}
	return o, nil
}

// doubtHolder voids what was known of the holder for the person's other open
// orders, so that none is sent on an older word of the carrier. They are locked by
// id, as everywhere.
func (s *Store) doubtHolder(ctx context.Context, tx pgx.Tx, ended unbind.Order) error {
	rows, err := tx.Query(ctx, `SELECT id, record FROM orders WHERE subject = $1 AND id <> $2 AND next_time IS NOT NULL ORDER BY id FOR UPDATE`, ended.Subject[:], ended.ID)
	if err != nil {
		return err
	}
	type row struct {
		ID     string
		Record []byte
	}
	others, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	for _, r := range others {
		o, err := s.decode(r.ID, r.Record)
		if err != nil {
			continue // it is never sent
		}
		o.HolderChecked = time.Time{}
		if err := s.put(ctx, tx, o); err != nil {
			return err
		}
	}
	return nil
}

// Report implements unbind.Queue.
func (s *Store) Report(ctx context.Context, p platform.ID, id string, t unbind.Transition) (unbind.Order, bool, error) {
	return s.change(ctx, id, t, func(h held) (bool, error) {
		if h.order.Platform != p {
			return false, fault.UnbindNotFound.New()
		}
		return false, nil
	})
}

// Cancel implements unbind.Orders. An order whose holder was lost may have been
// sent, so it can't be cancelled.
func (s *Store) Cancel(ctx context.Context, subject phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	o, _, err := s.change(ctx, id, t, func(h held) (bool, error) {
		switch {
		case h.order.Subject != subject:
			return false, fault.UnbindNotFound.New()
		case h.order.State.Final():
			return false, fault.AlreadyTerminal.New()
		case h.leased || h.order.Sent || h.order.State != unbind.Queued:
			return false, fault.AlreadySent.New()
		}
		return false, nil
	})
	return o, err
}

// Appeal implements unbind.Orders.
func (s *Store) Appeal(ctx context.Context, subject phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	o, _, err := s.change(ctx, id, t, func(h held) (bool, error) {
		switch {
		case h.order.Subject != subject:
			return false, fault.UnbindNotFound.New()
		case h.order.State == unbind.Appealed:
			return true, nil
		}
		return false, h.order.MayAppeal(t.Time())
	})
	return o, err
}

// Order implements unbind.Orders.
func (s *Store) Order(ctx context.Context, subject phone.Subject, id string) (unbind.Order, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, record, coalesce(lease_until > $3, false) FROM orders WHERE id = $1 AND subject = $2`, id, subject[:], s.clock.Now())
	if err != nil {
		return unbind.Order{}, failed(ctx, err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, s.scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return unbind.Order{}, fault.UnbindNotFound.New()
	}
	return o, failed(ctx, err)
}

// OrdersOf implements unbind.Orders.
func (s *Store) OrdersOf(ctx context.Context, subject phone.Subject, before string, limit int) ([]unbind.Order, error) {
	rows, err := s.pool.Query(ctx, `
SELECT id, record, coalesce(lease_until > $4, false) FROM orders
WHERE subject = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, subject[:], before, limit, s.clock.Now())
	if err != nil {
		return nil, failed(ctx, err)
	}
	orders, err := pgx.CollectRows(rows, s.scan)
	return orders, failed(ctx, err)
}
