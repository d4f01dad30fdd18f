package group

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

var bucketA, bucketB = []byte("a"), []byte("b")

func openIn(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(filepath.Join(dir, "group.db"), Options{Buckets: [][]byte{bucketA, bucketB}, Begin: func(*Tx) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// held has the committer wait in a verb until the returned function is called,
// so that whoever comes meanwhile is in one group with it.
func held(t *testing.T, db *DB) (release func()) {
	gate := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Update(context.Background(), func(*Tx) error { <-gate; return nil })
		if err != nil && !errors.Is(err, fault.StoreFailed) {
			t.Errorf("the first of the group: %v", err)
		}
	})
	synctest.Wait()
	return func() { close(gate); wg.Wait() }
}

func put(k, v string) func(*Tx) error {
	return func(tx *Tx) error { return tx.Bucket(bucketA).Put([]byte(k), []byte(v)) }
}

func has(t *testing.T, db *DB, k string) bool {
	t.Helper()
	var v []byte
	err := db.View(context.Background(), func(tx *Tx) error { v = bytes.Clone(tx.Bucket(bucketA).Get([]byte(k))); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return v != nil
}

// TestLoneWriterWaitsForNobody: a timer anywhere would let the bubble's clock
// jump.
func TestLoneWriterWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openIn(t, t.TempDir())
		defer db.Close()
		began := time.Now()
		for i := range 10 {
			if err := db.Update(t.Context(), put(fmt.Sprint(i), "v")); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("ten writes waited %v", took)
		}
		if got := db.Stats(); got.Commits != 10 || got.Verbs != 10 {
			t.Errorf("ten writes one after the other: %+v", got)
		}
	})
}

// TestAllWhoWaitShareOneTransaction, up to the bounds of a group.
func TestAllWhoWaitShareOneTransaction(t *testing.T) {
	for name, c := range map[string]struct {
		writers, size int
		commits       int64
	}{
		"some":      {writers: 200, size: 10, commits: 1},
		"too many":  {writers: maxVerbs + 10, size: 10, commits: 2},
		"too large": {writers: 5, size: maxBytes/3 + 1, commits: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := openIn(t, t.TempDir())
				defer db.Close()
				release := held(t, db)
				var wg sync.WaitGroup
				ids := make(map[int]bool)
				for i := range c.writers {
					wg.Go(func() {
						err := db.Update(context.Background(), func(tx *Tx) error {
							ids[tx.raw.ID()] = true
							return tx.Bucket(bucketA).Put(fmt.Append(nil, i), make([]byte, c.size))
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				release()
				wg.Wait()
				if got := db.Stats().Commits; got != c.commits || int64(len(ids)) != c.commits {
					t.Errorf("%d writers: %d commits of %d transactions, want %d", c.writers, got, len(ids), c.commits)
				}
			})
		})
	}
}

// TestNothingWrittenCostsNoWrite: neither verbs that only look, nor those whose
// writes were taken back, touch the disk.
func TestNothingWrittenCostsNoWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db := openIn(t, dir)
		defer db.Close()
		before, err := os.ReadFile(filepath.Join(dir, "group.db"))
		if err != nil {
			t.Fatal(err)
		}
		own := errors.New("own")
		for what, verb := range map[string]func(*Tx) error{
			"look":          func(tx *Tx) error { tx.Bucket(bucketA).Get([]byte("k")); return nil },
			"delete nought": func(tx *Tx) error { return tx.Bucket(bucketA).Delete([]byte("k")) },
			"taken back":    func(tx *Tx) error { return errors.Join(put("k", "v")(tx), own) },
		} {
			if err := db.Update(t.Context(), verb); err != nil && !errors.Is(err, own) {
				t.Errorf("%s: %v", what, err)
			}
		}
		after, err := os.ReadFile(filepath.Join(dir, "group.db"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, after) || db.Stats().Commits != 0 {
			t.Errorf("the file changed, or was committed: %+v", db.Stats())
		}
	})
}

// TestReadersCannotWrite: the journal is for verbs alone.
func TestReadersCannotWrite(t *testing.T) {
	db := openIn(t, t.TempDir())
	defer db.Close()
	if err := db.View(t.Context(), put("k", "v")); err == nil {
		t.Error("a reader could write")
	}
}

// TestCallerLeaves before its verb is run, and after.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openIn(t, t.TempDir())
		defer db.Close()
		left := errors.New("left")
		release := held(t, db)
		ctx, cancel := context.WithCancelCause(context.Background())
		early, late := make(chan error, 1), make(chan error, 1)
		go func() { early <- db.Update(ctx, put("early", "v")) }()
		synctest.Wait()
		cancel(left)
		if err := <-early; !errors.Is(err, left) { // while the committer is still held
			t.Errorf("a caller that left the queue: %v", err)
		}

		ctx, cancel = context.WithCancelCause(context.Background())
		gate := make(chan struct{})
		go func() {
			late <- db.Update(ctx, func(tx *Tx) error { cancel(left); <-gate; return put("late", "v")(tx) })
		}()
		release2 := make(chan struct{})
		go func() { release(); close(release2) }()
		synctest.Wait()
		select {
		case err := <-late:
			t.Errorf("a caller was answered before the commit: %v", err)
		default:
		}
		close(gate)
		if err := <-late; err != nil {
			t.Errorf("a caller that left while its verb ran: %v", err)
		}
		<-release2
		if has(t, db, "early") || !has(t, db, "late") {
			t.Error("what was answered is not what is there")
		}
	})
}

// TestSkipped: a context that ends between queue and verb keeps the verb from
// being run.
func TestSkipped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	cancel(left)
	w := &writer{ctx: ctx, verb: func(*Tx) error { t.Error("the verb was run"); return nil }}
	if err := w.run(new(Tx)); err != nil || !errors.Is(w.err, left) {
		t.Errorf("run: %v, and the writer is told %v", err, w.err)
	}
}

// TestCloseServesWhoWaits, refuses all others, and leaves no goroutine: the
// bubble would not end.
func TestCloseServesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db := openIn(t, dir)
		const writers = 4 * maxVerbs // so that most wait longer than for the group under way
		release := held(t, db)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				if err := db.Update(context.Background(), put(fmt.Sprint(i), "v")); err != nil {
					t.Errorf("a writer that waited: %v", err)
				}
			})
		}
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed under a verb: %v", err)
		default:
		}
		if err := db.Update(t.Context(), put("late", "v")); !errors.Is(err, fault.StoreFailed) {
			t.Errorf("a writer after Close: %v", err)
		}
		release()
		wg.Wait()
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		db = openIn(t, dir)
		defer db.Close()
		for i := range writers {
			if !has(t, db, fmt.Sprint(i)) {
				t.Fatalf("write %d is lost", i)
			}
		}
		if has(t, db, "late") {
			t.Error("a refused write is there")
		}
	})
}
