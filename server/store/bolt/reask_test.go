package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/verify"
)

// TestNoIndexEntryIsLeft: a lookup that ran, ended, got a late answer and its
// message leaves nothing in the index, and neither does one that is purged while
// it waits for a platform that is away. DueReasks would hide what is left, so the
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
	session := c.verify(verify.NewToken().Reveal())
	c.look(session)

	final := c.now.Add(time.Hour)
	l := lookup.Lookup{ID: seal.NewID(c.now), Subject: c.subject(), CreateTime: c.now, FinalBy: final, Revision: 2, Complete: true, Number: c.number, WakeTime: final}
	l.Rows = []lookup.Row{{Platform: "away", State: platform.Silent, ReaskTime: c.now.Add(time.Minute)}}
	_, err = c.s.Create(t.Context(), l, lookup.Admission{
		SessionKey: session.Key, NumberIndex: c.index(), RequestKey: c.keys.Sum("request", []byte("2")), Now: c.now, ForgetTime: final.Add(time.Hour),
	})
	c.check(err)
	_, err = c.s.Sweep(t.Context(), final.Add(2*time.Hour), 1000)
	c.check(err)
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
