//go:build postgres

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/seal"
)

// verbLimit bounds what is no longer the caller's to end.
const verbLimit = 30 * time.Second

// lockWait is how long a start waits for a hub of its name that is just ending.
const lockWait = 2 * time.Second

// nameLock is the number of the lock on the name $1: locks are the database's, and
// hubs that share nothing may use two schemas of one.
const nameLock = `hashtextextended('tongcha hub ' || current_schema() || ' ' || $1, 0)`

// Store keeps orders in a database that several hubs share. All methods are safe
// for concurrent use.
//
// A method that changes something returns after its transaction is on disk, also
// Claim: whether an order was ever sent is known by its lease. An error of a commit
// means that nobody knows whether it is; to ask again is safe, since a request is
// known by its key and a claim by its token.
type Store struct {
	pool  *pgxpool.Pool
	keys  *seal.Keys
	clock *clock.Clock
	hub   string
	run   int64         // how often this hub opened the store
	own   *pgxpool.Conn // holds the lock on the hub's name
}

// Options says which database, and for whom.
type Options struct {
	URL   string       // as pgx takes it
	Hub   string       // names this hub among those that share the database
	Keys  *seal.Keys   // seal personal fields; all hubs have the same
	Clock *clock.Clock // the hub's time; nil for the machine's
}

// Open connects and makes the tables that are missing. Leases of the hub's earlier
// run are void.
//
// Errors: a hub of that name runs already; the server does not sync what it
// commits; the tables are newer than this program, or sealed with other keys.
func Open(ctx context.Context, o Options) (*Store, error) {
	c, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("store: the database's address: %w", err)
	}
	c.ConnConfig.RuntimeParams["synchronous_commit"] = "on" // whatever the server's default is
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("store: connect: %w", err)
	}
	s := &Store{pool: pool, keys: o.Keys, clock: o.Clock, hub: o.Hub}
	if err := s.begin(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	return s.update(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// Two hubs that start at once would make the same table.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('tongcha schema ' || current_schema(), 0))`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, schema); err != nil {
			return err
		}
		if err := s.check(ctx, tx); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `INSERT INTO hubs (hub, runs) VALUES ($1, 1) ON CONFLICT (hub) DO UPDATE SET runs = hubs.runs + 1 RETURNING runs`, s.hub).Scan(&s.run)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE orders SET lease_until = '-infinity' WHERE hub = $1 AND lease_until IS NOT NULL`, s.hub)
		return err
	})
}

// lock keeps a second process from being the same hub. It ends with the
// connection, which the server may notice a moment after a crash; a hub that lost
// it and is replaced meanwhile finds its leases void.
func (s *Store) lock(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	s.own = conn
	var fsync string
	if err := conn.QueryRow(ctx, `SELECT current_setting('fsync')`).Scan(&fsync); err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	if fsync != "on" {
		return errors.New("store: the server runs with fsync=off and would lose orders; set fsync=on")
	}
	try := time.NewTicker(lockWait / 20)
	defer try.Stop()
	for end := time.Now().Add(lockWait); ; {
		var locked bool
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(`+nameLock+`)`, s.hub).Scan(&locked); err != nil {
			return fmt.Errorf("store: lock: %w", err)
		}
		if locked {
			return nil
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("store: a hub named %q is running on this database; stop it first, or give this one another name", s.hub)
		}
		select {
		case <-try.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// check keeps a sealed word beside the layout's version, so that a start with the
// wrong key file fails at once and not at the first record.
func (s *Store) check(ctx context.Context, tx pgx.Tx) error {
	const word = "tongcha"
	var version int
	var sealed []byte
	err := tx.QueryRow(ctx, `SELECT version, sealed FROM meta`).Scan(&version, &sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		if sealed, err = s.keys.Seal([]byte(word), []byte("keys")); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO meta (version, sealed) VALUES ($1, $2)`, schemaVersion, sealed)
		return err
	}
	if err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("store: the database has layout %d and this program knows %d; start the newer program", version, schemaVersion)
	}
	if plain, err := s.keys.Open(sealed, []byte("keys")); err != nil || string(plain) != word {
		return errors.New("store: the database was sealed with other keys; give the key file it was made with")
	}
	return nil
}

// Close closes the connections, after those who use one. Leases that were not
// given back before are void at the hub's next start, or when their time is over.
func (s *Store) Close() error {
	if s.own != nil {
		ctx, cancel := context.WithTimeout(context.Background(), verbLimit)
		defer cancel()
		_, _ = s.own.Exec(ctx, `SELECT pg_advisory_unlock(`+nameLock+`)`, s.hub) // else it ends with the connection
		_ = s.own.Hijack().Close(ctx)
		s.own = nil
	}
	s.pool.Close()
	return nil
}

// update runs f in a transaction. Once that has begun, the caller's leaving does
// not end it: what was asked is happening.
//
// Errors: f's own where it is a fault; the context's; else fault.StoreFailed.
func (s *Store) update(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return failed(ctx, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), verbLimit)
	defer cancel()
	defer func() { _ = tx.Rollback(ctx) }() // nothing after a commit
	if err := f(ctx, tx); err != nil {
		return failed(ctx, err)
	}
	return failed(ctx, tx.Commit(ctx))
}

// failed classes an error of the database.
func failed(ctx context.Context, err error) error {
	var known *fault.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fault.StoreFailed.Wrap(err)
}
