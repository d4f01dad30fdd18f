package group

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/fault"
)

// A group ends when nobody waits, and at these bounds at the latest: else a
// stream of newcomers would keep the first from being answered, and large values
// would fill the memory, which holds a group's pages until they are written. Far
// below them a group costs hardly more than the two syncs of a single write.
const (
	maxVerbs = 1024
	maxBytes = 8 << 20
)

// writer is somebody in Update. Whoever settles first owns it: the committer, which
// runs it, and to whom its results belong until answered is closed; or the caller,
// who leaves.
type writer struct {
	ctx      context.Context
	verb     func(*Tx) error
	settled  atomic.Bool
	err      error
	panicked *Panic
	answered chan struct{}
}

// Panic is what Update panics with when a verb did. Its text holds the kind of
// the value and the verb's stack, but not the value: that may be what a person
// typed.
type Panic struct {
	Value any
	Stack []byte
}

// Where says where the verb panicked: whoever recovers sees the caller's stack
// alone.
func (p *Panic) Where() string { return p.Error() }

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprintf("a verb panicked (%T)\n%s", p.Value, p.Stack) }

// Update runs verb in a transaction that it shares with all who wait at the same
// time, and returns when that is on disk. Verbs run one after the other and see
// what those before them wrote. verb runs on another goroutine, must wait for
// nothing, and must not end its goroutine. Its own error undoes what it wrote and
// is returned as it is; so does its panic, which goes on in the caller as a
// *Panic.
//
// A caller whose context ends before its verb is run gets the context's cause,
// and nothing was done. Once the verb runs, Update waits for the commit whatever
// the context says: what was asked is happening, and to answer otherwise would be
// a lie.
//
// Errors: fault.StoreFailed, when the file is closed or broken, or when the
// commit fails. Then the whole group gets it, those too whose verb failed: what
// they saw may have been another's write.
func (db *DB) Update(ctx context.Context, verb func(*Tx) error) error {
	if err := db.refusal(ctx); err != nil {
		return err
	}
	w := &writer{ctx: ctx, verb: verb, answered: make(chan struct{})}
	select {
	case db.queue <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-db.done:
		return fault.StoreFailed.New()
	}
	if err := w.wait(db.done); err != nil {
		return err
	}
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// wait returns once the verb is answered, or with an error once it never will be.
func (w *writer) wait(done <-chan struct{}) error {
	select {
	case <-w.answered:
		return nil
	case <-w.ctx.Done():
		if w.settled.CompareAndSwap(false, true) {
			return context.Cause(w.ctx)
		}
	case <-done:
		if w.settled.CompareAndSwap(false, true) {
			return fault.StoreFailed.New()
		}
	}
	<-w.answered
	return nil
}

// run is the committer. A first writer is served at once; whoever comes during
// its commit makes the next group.
func (db *DB) run() {
	defer close(db.done)
	pin()
	for {
		var first *writer
		select {
		case first = <-db.queue:
		case <-db.stop:
			if first = db.next(); first == nil {
				return
			}
		}
		if !db.serve(first) {
			return
		}
		runtime.Gosched() // those just answered may come again at once; they shall not miss the next group
	}
}

// next returns a writer that waits already, or nil.
func (db *DB) next() *writer {
	select {
	case w := <-db.queue:
		return w
	default:
		return nil
	}
}

// serve commits one group and then answers it; false when the file is broken.
func (db *DB) serve(first *writer) bool {
	group, err := db.gather(first)
	if err != nil {
		db.failure = err
		err = fault.StoreFailed.Wrap(fmt.Errorf("commit: %w", err))
		close(db.broken)
	}
	for _, w := range group {
		if err != nil {
			w.err = err
		}
		close(w.answered)
	}
	return err == nil
}

// gather runs the verbs of all who wait and commits. A group that wrote nothing
// is rolled back, which costs no write to the disk.
func (db *DB) gather(first *writer) ([]*writer, error) {
	group := []*writer{first}
	raw, err := db.bolt.Begin(true)
	if err != nil {
		return group, err
	}
	tx := &Tx{raw: raw, growing: db.o.Growing}
	for w := first; ; group = append(group, w) {
		if err := w.run(tx); err != nil {
			_ = raw.Rollback()
			return group, err
		}
		if len(group) == maxVerbs || tx.wrote >= maxBytes {
			break
		}
		if w = db.next(); w == nil {
			break
		}
	}
	if err := db.settle(tx); err != nil {
		_ = raw.Rollback()
		return group, err
	}
	if tx.wrote == 0 {
		return group, raw.Rollback()
	}
	if err := db.commit(raw); err != nil {
		_ = raw.Rollback() // bbolt has done so; where it has not, Close would wait for ever
		return group, err
	}
	db.commits.Add(1)
	db.verbs.Add(int64(len(group)))
	return group, nil
}

func (db *DB) commit(raw *bbolt.Tx) error {
	if err := db.room.keep(raw.Size()); err != nil {
		return err
	}
	return db.durable.commit(raw.ID(), raw.Commit)
}

// settle writes what the verbs of the group noted, in their transaction.
func (db *DB) settle(tx *Tx) (err error) {
	if len(tx.notes) == 0 {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("settle: panic (%T)", v)
		}
	}()
	if err := db.o.Settle(tx, tx.notes); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	tx.keep()
	return nil
}

// run runs the verb and leaves in tx all it wrote or nothing. An error of its own
// means that neither is so, and tx must not be committed.
func (w *writer) run(tx *Tx) error {
	if !w.settled.CompareAndSwap(false, true) {
		return nil // it has left
	}
	if w.ctx.Err() != nil {
		w.err = context.Cause(w.ctx)
		return nil
	}
	func() {
		defer func() {
			if v := recover(); v != nil {
				w.panicked = &Panic{Value: v, Stack: debug.Stack()}
			}
		}()
		w.err = w.verb(tx)
	}()
	if w.err != nil || w.panicked != nil {
		return tx.undo()
	}
	tx.keep()
	return nil
}
