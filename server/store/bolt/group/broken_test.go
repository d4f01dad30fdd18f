package group

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tongcha/tongcha/server/fault"
)

// TestNothingGoesOnAfterAFailedCommit: nobody knows what is on disk, so nobody of
// the group is told anything else, and all further work is refused.
func TestNothingGoesOnAfterAFailedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var file *os.File
		o := options()
		o.OpenFile = func(path string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(path, flag, mode)
			return file, err
		}
		db, err := open(filepath.Join(dir, "group.db"), Options{Buckets: [][]byte{bucketA, bucketB}, Begin: put("old", "v")}, o)
		if err != nil {
			t.Fatal(err)
		}
		release := held(t, db)
		var wg sync.WaitGroup
		for _, verb := range []func(*Tx) error{
			put("new", "v"),
			func(tx *Tx) error { return errors.Join(put("other", "v")(tx), errOwn) },
			func(*Tx) error { return nil },
		} {
			wg.Go(func() { wantFailed(t, db.Update(context.Background(), verb)) })
		}
		synctest.Wait()
		if err := file.Close(); err != nil { // the disk is gone
			t.Fatal(err)
		}
		release()
		wg.Wait()
		select {
		case <-db.Broken():
		default:
			t.Error("the file does not say that it is broken")
		}
		if err := db.Failure(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("it says that it broke by %v", err)
		}
		wantFailed(t, db.Update(t.Context(), put("later", "v")))
		wantFailed(t, db.View(t.Context(), func(*Tx) error { t.Error("a read went on"); return nil }))
		if err := db.Close(); errors.Is(err, fault.StoreFailed) || err == nil {
			t.Errorf("close of a file that is gone: %v", err)
		}
		db = openIn(t, dir)
		defer db.Close()
		if !has(t, db, "old") {
			t.Error("what was there before is lost")
		}
	})
}
