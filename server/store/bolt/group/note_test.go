package group

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tongcha/tongcha/server/fault"
)

// TestNotes: a group is settled once, with the notes of the verbs that stay, and
// what that writes is in the same transaction.
func TestNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var settled [][]any
		db, err := Open(filepath.Join(t.TempDir(), "group.db"), Options{
			Buckets: [][]byte{bucketA}, Begin: func(*Tx) error { return nil },
			Settle: func(tx *Tx, notes []any) error {
				settled = append(settled, slices.Clone(notes))
				return put("sum", fmt.Sprint(len(notes)))(tx)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		release := held(t, db)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				err := db.Update(t.Context(), func(tx *Tx) error {
					tx.Note(i)
					if i == 3 {
						return errOwn
					}
					return put(fmt.Sprint(i), "v")(tx)
				})
				if (i == 3) != errors.Is(err, errOwn) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		if len(settled) != 1 || len(settled[0]) != 4 || slices.Contains(settled[0], any(3)) {
			t.Errorf("settled %v", settled)
		}
		if !has(t, db, "sum") || db.Stats().Commits != 1 {
			t.Error("what was settled is not in the group's commit")
		}
		if err := db.Update(t.Context(), put("more", "v")); err != nil || len(settled) != 1 {
			t.Errorf("a group without notes: %v, settled %v", err, settled)
		}
	})
}

// TestUnsettled: a group that can't be settled is not committed, and nobody is
// told that it was.
func TestUnsettled(t *testing.T) {
	for name, settle := range map[string]func(*Tx, []any) error{
		"error": func(*Tx, []any) error { return errOwn },
		"panic": func(*Tx, []any) error { panic(errOwn) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db, err := Open(filepath.Join(dir, "group.db"), Options{Buckets: [][]byte{bucketA, bucketB}, Begin: func(*Tx) error { return nil }, Settle: settle})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(t.Context(), func(tx *Tx) error { tx.Note(1); return put("k", "v")(tx) })
			if !errors.Is(err, fault.StoreFailed) {
				t.Errorf("error %v", err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = openIn(t, dir)
			defer db.Close()
			if has(t, db, "k") {
				t.Error("it was committed")
			}
		})
	}
}
