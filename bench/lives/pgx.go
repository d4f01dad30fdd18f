package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// poolSize is enough for 2 cores; a commit that waits for the disk needs none.
const poolSize = 32

// pgxSchema is what one would write for this one purpose. The index holds open
// orders alone; rows leave room for the two updates of a life.
const pgxSchema = `
CREATE TABLE IF NOT EXISTS lives (
  id uuid PRIMARY KEY, platform text NOT NULL, state smallint NOT NULL DEFAULT 0, next_time timestamptz NOT NULL,
  lease_until timestamptz, token bigint NOT NULL DEFAULT 0, finish_time timestamptz, value bytea NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);
ALTER TABLE lives ALTER COLUMN value SET STORAGE PLAIN;
CREATE INDEX IF NOT EXISTS lives_due ON lives (next_time) WHERE state = 0;
CREATE SEQUENCE IF NOT EXISTS lives_token`

const (
	pgxInsert     = `INSERT INTO lives (id, platform, next_time, value) VALUES ($1, $2, $3, $4)`
	pgxInsertMany = `INSERT INTO lives (id, platform, next_time, value) SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bytea[])`
	pgxClaim      = `
WITH due AS (SELECT id FROM lives WHERE state = 0 AND next_time <= $1 ORDER BY next_time LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE lives SET state = 1, token = nextval('lives_token'), lease_until = $3 FROM due WHERE lives.id = due.id
RETURNING lives.id, lives.token, lives.value`
	pgxFinish = `
UPDATE lives SET state = 2, finish_time = $3 FROM unnest($1::uuid[], $2::bigint[]) AS f(id, token)
WHERE lives.id = f.id AND lives.token = f.token AND lives.state = 1`
)

type pgxOrder struct {
	id       uuid.UUID
	platform string
	next     time.Time
	value    []byte
}

type pgxLease struct {
	id    uuid.UUID
	token int64
	value []byte
}

// pgxQueue is a table with FOR UPDATE SKIP LOCKED. Claims take up to 100 orders in
// all of its arms. Inserts are gathered where gathered isn't nil; ends, which are
// the workers' own business, where most is above 1.
type pgxQueue struct {
	pool     *pgxpool.Pool
	gathered *gatherer[pgxOrder]
	most     int // ends of one statement
	told     func(int, error)

	wake    chan struct{}
	claims  chan pgxLease
	stop    context.CancelFunc
	claimer sync.WaitGroup
	finish  sync.WaitGroup
}

func pgxArm(inserts, ends bool) func(context.Context, place, func(int, error)) (queue, error) {
	return func(ctx context.Context, at place, finished func(int, error)) (queue, error) {
		// The planner sees an empty table when it makes the plans that are kept, and
		// would read all of it for ever.
		pool, err := connect(ctx, at.url, map[string]string{"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"})
		if err != nil {
			return nil, err
		}
		if _, err := pool.Exec(ctx, pgxSchema, pgx.QueryExecModeSimpleProtocol); err != nil {
			pool.Close()
			return nil, err
		}
		if err := fresh(ctx, pool, "lives"); err != nil {
			pool.Close()
			return nil, err
		}
		q := &pgxQueue{pool: pool, told: finished, wake: make(chan struct{}, 1), claims: make(chan pgxLease, inFlight)}
		finishers := poolSize - 8 // the others insert and claim
		if q.most = 1; ends {
			q.most, finishers = groupMost, at.writers
		}
		if inserts {
			q.gathered = gather(at.writers, groupMost, q.insert)
		}
		q.start(finishers)
		return q, nil
	}
}

func (q *pgxQueue) start(finishers int) {
	ctx, stop := context.WithCancel(context.Background())
	q.stop = stop
	q.claimer.Go(func() { q.claim(ctx) })
	for range finishers {
		q.finish.Go(q.end)
	}
}

// connect opens a pool with all its connections; pgx prepares each statement once
// for a connection.
func connect(ctx context.Context, url string, set map[string]string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.MaxConns, c.MinConns = poolSize, poolSize
	for k, v := range set {
		c.ConnConfig.RuntimeParams[k] = v
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// fresh begins with an empty table and a checkpoint that is over, as our arms begin
// with a new file.
func fresh(ctx context.Context, pool *pgxpool.Pool, table string) error {
	for _, sql := range []string{"TRUNCATE " + table, "CHECKPOINT"} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (q *pgxQueue) Enqueue(ctx context.Context) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	o := pgxOrder{id: id, platform: fmt.Sprintf("platform-%02d", int(id[15])%platforms), next: time.Now(), value: make([]byte, valueSize)}
	_, _ = rand.Read(o.value)
	if q.gathered != nil {
		err = q.gathered.do(o)
	} else {
		_, err = q.pool.Exec(ctx, pgxInsert, o.id, o.platform, o.next, o.value)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return err
}

func (q *pgxQueue) insert(orders []pgxOrder) error {
	var ids []uuid.UUID
	var at []string
	var next []time.Time
	var values [][]byte
	for _, o := range orders {
		ids, at, next, values = append(ids, o.id), append(at, o.platform), append(next, o.next), append(values, o.value)
	}
	_, err := q.pool.Exec(context.Background(), pgxInsertMany, ids, at, next, values)
	return err
}

// claim leases in a loop.
func (q *pgxQueue) claim(ctx context.Context) {
	for ctx.Err() == nil {
		leases, err := q.lease(ctx)
		if err != nil {
			if ctx.Err() == nil {
				q.told(0, err)
			}
			return
		}
		for _, l := range leases {
			q.claims <- l
		}
		if len(leases) == claimMost {
			continue
		}
		select {
		case <-q.wake:
		case <-time.After(idle):
		case <-ctx.Done():
		}
	}
}

func (q *pgxQueue) lease(ctx context.Context) ([]pgxLease, error) {
	now := time.Now()
	rows, err := q.pool.Query(ctx, pgxClaim, now, claimMost, now.Add(time.Minute))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (l pgxLease, err error) {
		err = r.Scan(&l.id, &l.token, &l.value)
		return l, err
	})
}

func (q *pgxQueue) end() {
	var ids []uuid.UUID
	var tokens []int64
	for group := range groups(q.claims, q.most) {
		ids, tokens = ids[:0], tokens[:0]
		for _, l := range group {
			ids, tokens = append(ids, l.id), append(tokens, l.token)
		}
		done, err := q.pool.Exec(context.Background(), pgxFinish, ids, tokens, time.Now())
		if err == nil && int(done.RowsAffected()) != len(group) {
			err = errors.New("a lease was lost")
		}
		if err != nil {
			q.told(0, err)
			continue
		}
		q.told(len(group), nil)
	}
}

func (q *pgxQueue) Close() error {
	if q.gathered != nil {
		q.gathered.close()
	}
	q.stop()
	q.claimer.Wait()
	close(q.claims)
	q.finish.Wait()
	q.pool.Close()
	return nil
}
