// Package group lets all writers that wait share one bbolt transaction, and
// keeps the failure of one from the others.
package group

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/tongcha/tongcha/server/fault"
)

// DB is a bbolt file with one goroutine that writes. All methods are safe for
// concurrent use.
//
// An error of a commit means that nobody knows whether it is on disk: the file
// then refuses all further work (Broken), and only a new start, which reads what
// is really there, goes on.
type DB struct {
	o     Options
	bolt  *bbolt.DB
	queue chan *writer // whoever is in it waits in Update, and may leave

	stop     chan struct{} // closed by Close
	stopOnce sync.Once
	broken   chan struct{} // closed by the committer
	done     chan struct{} // closed when the committer has ended
	failure  error         // why broken is closed; set before that

	durable durable
	room    reserve // of the committer alone

	commits, verbs atomic.Int64
}

// Options say what a file holds.
type Options struct {
	Buckets [][]byte
	// Growing are those of them whose new keys are above the old ones: their pages
	// are filled to nine tenths instead of half.
	Growing [][]byte
	// Begin is run in the transaction of the opening.
	Begin func(*Tx) error
	// Settle is run at the end of a group that noted something, on all its notes in
	// order, in its transaction. An error of it fails the commit. Nil where nothing
	// is noted.
	Settle func(tx *Tx, notes []any) error
}

// Open opens or makes the file at path, makes the buckets that are missing and
// runs Begin, all in one transaction: a file that Begin refuses is left as it
// was.
//
// Errors: the file is in use by another process; Begin's own; fault.StoreFailed
// where the commit failed.
func Open(path string, o Options) (*DB, error) { return open(path, o, options()) }

// options leave the list of free pages out of the file: written with every
// commit it costs more than all else in a file that once was larger. Which pages
// are free follows from those that are not, and opening finds out, by reading
// the live part of the file.
//
// The memory map, which takes addresses and no memory, is made larger than the file
// will be: to enlarge it a writer, and with it everybody, would have to wait for
// all who read, of whom a backup may be one.
func options() *bbolt.Options {
	return &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: min(64<<30, math.MaxInt/4)}
}

func open(path string, o Options, raw *bbolt.Options) (*DB, error) {
	fresh := isFresh(path)
	file, opened, err := mapped(path, raw)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("store: %s is in use by another hub; stop that one first", path)
	}
	if err != nil {
		if fresh {
			_ = os.Remove(path) // half of a first page would keep every later start out
		}
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	if err := stillNamed(path, opened); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	db := &DB{
		o: o, bolt: file, queue: make(chan *writer, maxVerbs), room: reserve{path: path},
		stop: make(chan struct{}), broken: make(chan struct{}), done: make(chan struct{}),
	}
	err = db.begin()
	if err == nil && fresh {
		err = syncFolder(path)
	}
	if err == nil {
		err = db.mapAnew(path, raw)
	}
	if err != nil {
		_ = db.bolt.Close()
		return nil, err
	}
	go db.run()
	return db, nil
}

// begin makes the buckets and runs Begin.
func (db *DB) begin() error {
	var refused error
	err := db.bolt.Update(func(raw *bbolt.Tx) error {
		db.durable.last.Store(int64(raw.ID()))
		for _, b := range db.o.Buckets {
			if _, err := raw.CreateBucketIfNotExists(b); err != nil {
				return fmt.Errorf("store: make bucket %s: %w", b, err)
			}
		}
		refused = db.o.Begin(&Tx{raw: raw, growing: db.o.Growing})
		return refused
	})
	if err != nil && refused == nil {
		return fault.StoreFailed.Wrap(fmt.Errorf("store: first commit: %w", err))
	}
	return err
}

// Close lets those finish who wait already, refuses all others, and closes the
// file once nobody reads.
func (db *DB) Close() error {
	db.stopOnce.Do(func() { close(db.stop) })
	<-db.done
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Broken is closed when a commit failed. The process must end then.
func (db *DB) Broken() <-chan struct{} { return db.broken }

// Failure is why the file is broken, as the system put it; nil while it is not.
func (db *DB) Failure() error {
	select {
	case <-db.broken:
		return db.failure
	default:
		return nil
	}
}

// View runs read in a transaction of its own, beside all writers; it sees what
// was committed when it began. Where that is not on disk yet, View waits until it
// is, so that nobody is told what a failing disk takes back.
//
// Errors: read's own; fault.StoreFailed, when the file is closed or broken.
func (db *DB) View(ctx context.Context, read func(*Tx) error) error {
	if err := db.refusal(ctx); err != nil {
		return err
	}
	saw := 0
	err := db.bolt.View(func(raw *bbolt.Tx) error {
		saw = raw.ID()
		return read(&Tx{raw: raw})
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) { // closed meanwhile
		return fault.StoreFailed.Wrap(err)
	}
	if !db.durable.reached(saw) {
		return fault.StoreFailed.New()
	}
	return err
}

// refusal is why no work begins: the file is broken or closed, or the caller has
// left.
func (db *DB) refusal(ctx context.Context) error {
	select {
	case <-db.broken:
		return fault.StoreFailed.New()
	case <-db.stop:
		return fault.StoreFailed.New()
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Stats counts what was done since Open.
type Stats struct {
	Reads   int64 // read transactions begun
	Commits int64 // groups that were written
	Verbs   int64 // writers answered by those
}

// Stats returns the counts; they need not be of one moment.
func (db *DB) Stats() Stats {
	read := db.bolt.Stats()
	return Stats{Reads: int64(read.TxN), Commits: db.commits.Load(), Verbs: db.verbs.Load()}
}
