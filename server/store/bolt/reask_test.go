package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/verify"
)

// TestNoIndexEntryIsLeft: a lookup that ran, ended, got a late answer and its
// message leaves nothing in the index. DueReasks would hide what is left, so the
// bucket itself is read.
func TestNoIndexEntryIsLeft(t *testing.T) {
	dir := t.TempDir()
	path, keys := filepath.Join(dir, "hub.db"), keysIn(t, dir)
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	c := canary{T: t, s: s, keys: keys, now: time.Now()}
	c.parse()
	c.look(c.verify(verify.NewToken().Reveal()))
	c.check(s.Close())
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	c.check(err)
	c.check(db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("reasks")).ForEach(func(k, _ []byte) error {
			t.Errorf("%q is left", k)
			return nil
		})
	}))
	c.check(db.Close())
}
