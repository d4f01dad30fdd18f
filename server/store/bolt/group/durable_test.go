package group

import (
	"context"
	"errors"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/fault"
)

// TestReadersTellNothingThatIsNotOnDisk: bbolt shows a transaction before its last
// sync, and a reader must not pass that on until the sync is over, nor at all where
// it failed.
func TestReadersTellNothingThatIsNotOnDisk(t *testing.T) {
	for name, failed := range map[string]error{"synced": nil, "failed": errors.New("input/output error")} {
		t.Run(name, func(t *testing.T) {
			db := openIn(t, t.TempDir())
			defer db.Close()
			if err := db.Update(t.Context(), put("old", "v")); err != nil {
				t.Fatal(err)
			}
			read := make(chan error, 1)
			err := db.durable.commit(int(db.durable.last.Load())+1, func() error {
				if err := db.bolt.Update(func(raw *bbolt.Tx) error { return put("new", "v")(&Tx{raw: raw}) }); err != nil {
					t.Error(err)
				}
				inside := make(chan struct{})
				go func() {
					read <- db.View(context.Background(), func(tx *Tx) error {
						defer close(inside)
						if tx.Bucket(bucketA).Get([]byte("new")) == nil {
							t.Error("the reader does not see what is not synced yet: the test tests nothing")
						}
						return nil
					})
				}()
				<-inside
				select {
				case err := <-read:
					t.Errorf("a reader did not wait for the sync: %v", err)
				default:
				}
				return failed
			})
			if !errors.Is(err, failed) {
				t.Error(err)
			}
			if err := <-read; failed == nil && err != nil || failed != nil && !errors.Is(err, fault.StoreFailed) {
				t.Errorf("a reader of what is not on disk got %v", err)
			}
		})
	}
}

// TestReadersOfOldThingsDoNotWait for a commit under way.
func TestReadersOfOldThingsDoNotWait(t *testing.T) {
	db := openIn(t, t.TempDir())
	defer db.Close()
	db.durable.committing.Lock()
	defer db.durable.committing.Unlock()
	if err := db.View(t.Context(), func(*Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}
