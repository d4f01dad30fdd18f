//go:build postgres

package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// claimSQL leases what is due at the platforms of $1, at most $2 of each and $4 of
// all. It skips what another hub has locked at the moment, and waits for nobody.
const claimSQL = `
WITH due AS (
  SELECT d.id, d.next_time FROM unnest($1::text[], $2::integer[]) AS w (platform, room) CROSS JOIN LATERAL (
    SELECT o.id, o.next_time FROM orders AS o
    WHERE o.platform = w.platform AND o.next_time <= $3 AND (o.lease_until IS NULL OR o.lease_until <= $3)
    ORDER BY o.next_time, o.id LIMIT w.room FOR UPDATE SKIP LOCKED
  ) AS d ORDER BY d.next_time, d.id LIMIT $4
), given AS (SELECT id, nextval('lease_tokens') AS token FROM due)
UPDATE orders AS o SET token = g.token, in_doubt = o.lease_until IS NOT NULL, lease_until = $5, hub = $6
FROM given AS g WHERE o.id = g.id RETURNING o.id, o.platform, o.token, o.record`

// nextSQL is when to look again at the platforms of $1: when their next order is
// due, or when the lease of another hub is over, which may have died.
const nextSQL = `
SELECT min(least(d.due, d.over)) FROM unnest($1::text[]) AS w (platform) CROSS JOIN LATERAL (SELECT
  (SELECT min(next_time) FROM orders WHERE platform = w.platform AND next_time > $2) AS due,
  (SELECT min(lease_until) FROM orders WHERE platform = w.platform AND next_time <= $2 AND lease_until > $2 AND hub <> $3) AS over
) AS d`

// Claim implements unbind.Queue. Times are this hub's, so that the clocks of hubs
// that share orders should agree within a small part of a lease; where they don't,
// tokens still keep two holders from writing.
func (s *Store) Claim(ctx context.Context, r unbind.ClaimRequest) ([]unbind.Claim, time.Time, error) {
	var claims []unbind.Claim
	var next *time.Time
	err := s.update(ctx, func(ctx context.Context, tx pgx.Tx) error {
		platforms, rooms, err := s.rooms(ctx, tx, r)
		if err != nil || len(platforms) == 0 {
			return err
		}
		taken := make(map[string]int)
		if claims, err = s.lease(ctx, tx, r, platforms, rooms, taken); err != nil {
			return err
		}
		if len(claims) == r.Max {
			next = &r.Now
			return nil
		}
		left := slices.DeleteFunc(slices.Clone(platforms), func(p string) bool {
			return taken[p] == rooms[slices.Index(platforms, p)] // an attempt that ends makes room and wakes
		})
		return tx.QueryRow(ctx, nextSQL, left, r.Now, s.hub).Scan(&next)
	})
	if err != nil || next == nil {
		return claims, time.Time{}, err
	}
	return claims, *next, nil
}

// rooms lists the platforms that may be sent more, and how much more.
func (s *Store) rooms(ctx context.Context, tx pgx.Tx, r unbind.ClaimRequest) (platforms []string, rooms []int, err error) {
	rows, err := tx.Query(ctx, `SELECT platform FROM order_platforms ORDER BY platform`)
	if err != nil {
		return nil, nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, p := range all {
		if room := min(r.Free(platform.ID(p)), r.Max); room > 0 {
			platforms, rooms = append(platforms, p), append(rooms, room)
		}
	}
	return platforms, rooms, err
}

// lease claims, and counts what it took of each platform. An order whose record is
// broken stays leased and is left out: the others shall not wait for it.
func (s *Store) lease(ctx context.Context, tx pgx.Tx, r unbind.ClaimRequest, platforms []string, rooms []int, taken map[string]int) ([]unbind.Claim, error) {
	until := r.Now.Add(r.Lease)
	rows, err := tx.Query(ctx, claimSQL, platforms, rooms, r.Now, r.Max, until, s.hub)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var claims []unbind.Claim
	for rows.Next() {
		var id, at string
		var token int64
		var record []byte
		if err := rows.Scan(&id, &at, &token, &record); err != nil {
			return nil, err
		}
		taken[at]++
		if o, err := s.decode(id, record); err == nil {
			claims = append(claims, unbind.Claim{Order: o, Token: uint64(token), Until: until})
		}
	}
	// Tokens were given out in the order of claims; an UPDATE returns rows in any.
	slices.SortFunc(claims, func(a, b unbind.Claim) int { return int(int64(a.Token) - int64(b.Token)) })
	return claims, rows.Err()
}

// Extend implements unbind.Queue.
func (s *Store) Extend(ctx context.Context, c unbind.Claim, until time.Time) (unbind.Claim, error) {
	held, err := s.pool.Exec(ctx, `UPDATE orders SET lease_until = $3 WHERE id = $1 AND token = $2 AND lease_until > $4`,
		c.Order.ID, int64(c.Token), until, s.clock.Now())
	if err != nil {
		return unbind.Claim{}, failed(ctx, err)
	}
	if held.RowsAffected() == 0 {
		return unbind.Claim{}, fault.LeaseLost.New()
	}
	c.Until = until
	return c, nil
}

// Release implements unbind.Queue. What can't be given back, since the database
// does not answer, is due again when its lease is over.
func (s *Store) Release(ctx context.Context, claims []unbind.Claim) {
	var ids []string
	var tokens []int64
	for _, c := range claims {
		ids, tokens = append(ids, c.Order.ID), append(tokens, int64(c.Token))
	}
	_, _ = s.pool.Exec(ctx, `
UPDATE orders AS o SET lease_until = CASE WHEN o.in_doubt THEN timestamptz '-infinity' END
FROM unnest($1::text[], $2::bigint[]) AS c (id, token) WHERE o.id = c.id AND o.token = c.token AND o.lease_until > $3`, ids, tokens, s.clock.Now())
}
