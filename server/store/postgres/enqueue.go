//go:build postgres

package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

const day = 24 * time.Hour

// Enqueue implements unbind.Queue. The request's key and the number's count are
// locked in this order; a second request of the same key, or for the same number,
// waits for the first and sees what it made.
func (s *Store) Enqueue(ctx context.Context, e unbind.Enqueue) ([]unbind.Placed, error) {
	rows := make([]row, len(e.Items))
	for i, item := range e.Items {
		if item.Order == nil {
			continue
		}
		item.Order.Run = s.run
		var err error
		if rows[i], err = s.rowOf(*item.Order); err != nil {
			return nil, err
		}
	}
	var placed []unbind.Placed
	err := s.update(ctx, func(ctx context.Context, tx pgx.Tx) error {
		answer, err := repeated(ctx, tx, e)
		if err != nil {
			return err
		}
		if answer != nil {
			placed, err = s.placedBefore(ctx, tx, answer, e.Now)
			return err
		}
		if placed, err = s.place(ctx, tx, e, rows); err != nil {
			return err
		}
		return remember(ctx, tx, e, placed)
	})
	if err != nil {
		return nil, err
	}
	return placed, nil
}

// repeated takes the request's key, or returns what was made under it before. The
// zero key is no request id.
func repeated(ctx context.Context, tx pgx.Tx, e unbind.Enqueue) (*recordv1.Request, error) {
	if e.RequestKey == ([32]byte{}) {
		return nil, nil
	}
	taken, err := tx.Exec(ctx, `
INSERT INTO requests (key, body, expire_time) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET body = excluded.body, expire_time = excluded.expire_time, answer = NULL WHERE requests.expire_time <= $4`,
		e.RequestKey[:], e.BodyDigest[:], e.Now.Add(day), e.Now)
	if err != nil || taken.RowsAffected() == 1 {
		return nil, err
	}
	var body, answer []byte
	if err := tx.QueryRow(ctx, `SELECT body, answer FROM requests WHERE key = $1`, e.RequestKey[:]).Scan(&body, &answer); err != nil {
		return nil, err
	}
	if !bytes.Equal(body, e.BodyDigest[:]) {
		return nil, fault.RequestIDReused.On("requestId")
	}
	r := new(recordv1.Request)
	if err := proto.Unmarshal(answer, r); err != nil {
		return nil, fmt.Errorf("broken request: %w", err)
	}
	return r, nil
}

func (s *Store) placedBefore(ctx context.Context, tx pgx.Tx, r *recordv1.Request, now time.Time) ([]unbind.Placed, error) {
	var placed []unbind.Placed
	for _, u := range r.GetUnbinds() {
		p := unbind.Placed{Platform: platform.ID(u.GetPlatformId()), Reason: fault.Reason(u.GetErrorReason())}
		if u.GetOrderId() != "" {
			h, err := s.held(ctx, tx, u.GetOrderId(), now, "")
			if err != nil {
				return nil, err
			}
			p.Order = shown(h.order, h.live)
		}
		placed = append(placed, p)
	}
	return placed, nil
}

// remember records what the request made.
func remember(ctx context.Context, tx pgx.Tx, e unbind.Enqueue, placed []unbind.Placed) error {
	r := new(recordv1.Request)
	for _, p := range placed {
		r.Unbinds = append(r.Unbinds, &recordv1.RequestUnbind{PlatformId: string(p.Platform), OrderId: p.Order.ID, ErrorReason: string(p.Reason)})
	}
	answer, err := proto.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	_, err = tx.Exec(ctx, `UPDATE requests SET answer = $2 WHERE key = $1`, e.RequestKey[:], answer)
	return err
}

// place makes the orders that can be made; rows are those of the items. The daily
// limit refuses single orders; it is an error of the whole request only when none
// could be made.
func (s *Store) place(ctx context.Context, tx pgx.Tx, e unbind.Enqueue, rows []row) ([]unbind.Placed, error) {
	had, end, err := used(ctx, tx, e)
	if err != nil {
		return nil, err
	}
	open, err := s.open(ctx, tx, e)
	if err != nil {
		return nil, err
	}
	refused, standing := 0, 0
	var made []row
	var placed []unbind.Placed
	for i, item := range e.Items {
		p := unbind.Placed{Platform: item.Platform, Reason: item.Reason}
		at := -1
		if item.Order != nil {
			at = slices.IndexFunc(open, func(o unbind.Order) bool { return o.Platform == item.Platform && o.Covers(item.Order.AccountRefs) })
		}
		switch {
		case item.Order == nil:
		case at >= 0:
			p.Order = open[at]
			standing++
		case e.DailyLimit > 0 && had+len(made) >= e.DailyLimit:
			p.Reason = fault.DailyLimit
			refused++
		default:
			p.Order = *item.Order
			made = append(made, rows[i])
			open = append([]unbind.Order{*item.Order}, open...)
		}
		placed = append(placed, p)
	}
	if refused > 0 && len(made)+standing == 0 {
		return nil, fault.DailyLimit.New().WithRetry(end.Sub(e.Now))
	}
	return placed, insert(ctx, tx, e, made)
}

// used returns how many orders the number had today and when that starts again. It
// locks the count, whether or not there was one.
func used(ctx context.Context, tx pgx.Tx, e unbind.Enqueue) (had int, end time.Time, err error) {
	err = tx.QueryRow(ctx, `
INSERT INTO order_counts AS c (number_index, used, expire_time) VALUES ($1, 0, $2)
ON CONFLICT (number_index) DO UPDATE SET
  used = CASE WHEN c.expire_time > $3 THEN c.used ELSE 0 END,
  expire_time = CASE WHEN c.expire_time > $3 AND c.used > 0 THEN c.expire_time ELSE excluded.expire_time END
RETURNING used, expire_time`, e.NumberIndex[:], e.Now.Add(day), e.Now).Scan(&had, &end)
	return had, end, err
}

// open returns the person's open orders at the platforms asked, newest first.
func (s *Store) open(ctx context.Context, tx pgx.Tx, e unbind.Enqueue) ([]unbind.Order, error) {
	var asked []string
	for _, item := range e.Items {
		if item.Order != nil {
			asked = append(asked, string(item.Platform))
		}
	}
	rows, err := tx.Query(ctx, `
SELECT id, record, coalesce(lease_until > $3, false) FROM orders
WHERE subject = $1 AND platform = ANY($2) AND next_time IS NOT NULL ORDER BY id DESC`, e.Subject[:], asked, e.Now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, s.scan)
}

// scan reads id, record and whether it is leased.
func (s *Store) scan(r pgx.CollectableRow) (unbind.Order, error) {
	var id string
	var record []byte
	var leased bool
	if err := r.Scan(&id, &record, &leased); err != nil {
		return unbind.Order{}, err
	}
	o, err := s.decode(id, record)
	return shown(o, leased), err
}

// insert writes new orders and counts them.
func insert(ctx context.Context, tx pgx.Tx, e unbind.Enqueue, made []row) error {
	if len(made) == 0 {
		return nil
	}
	var ids, platforms []string
	var next []*time.Time
	var states []time.Time
	var records [][]byte
	for _, r := range made {
		ids, platforms, next = append(ids, r.id), append(platforms, r.platform), append(next, r.next)
		states, records = append(states, r.state), append(records, r.record)
	}
	b := new(pgx.Batch)
	b.Queue(`INSERT INTO orders (subject, id, platform, next_time, state_time, record)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bytea[])`, e.Subject[:], ids, platforms, next, states, records)
	// Sorted, or two requests could wait for each other.
	b.Queue(`INSERT INTO order_platforms SELECT DISTINCT p FROM unnest($1::text[]) AS p ORDER BY p ON CONFLICT DO NOTHING`, platforms)
	b.Queue(`UPDATE order_counts SET used = used + $2 WHERE number_index = $1`, e.NumberIndex[:], len(made))
	sent := tx.SendBatch(ctx, b)
	var err error
	for range b.Len() {
		_, e := sent.Exec()
		err = errors.Join(err, e)
	}
	return errors.Join(err, sent.Close())
}
