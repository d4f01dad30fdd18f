package bolt_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/store/bolt"
)

// makeGolden is the layout that the code under test writes; 0 makes nothing.
var makeGolden = flag.Int("golden", 0, "write testdata/vN.db, a file of this layout, and its keys")

// TestMakeGolden keeps a file of each layout, made by the code of its time, for
// the migrations of all times to come: before the layout is raised, run
//
//	go test ./server/store/bolt -run TestMakeGolden -golden N
//
// with the N it has had. The keys beside it protect nobody: all in it is made up.
func TestMakeGolden(t *testing.T) {
	if *makeGolden == 0 {
		t.Skip("makes a file only with -golden N")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "hub.db")
	keys := keysIn(t, dir)
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	f := &sample{T: t, s: s, keys: keys, now: time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)}
	f.all(12)
	f.ok(s.Close())
	name := fmt.Sprintf("testdata/v%d", *makeGolden)
	key, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	f.ok(err)
	f.ok(os.WriteFile(name+".keys.json", key, 0o600))
	f.compact(path, name+".db")
}

// compact leaves out the free pages, so that the repository need not hold them.
func (f *sample) compact(from, to string) {
	f.Helper()
	f.ok(os.RemoveAll(to))
	src, err := bbolt.Open(from, 0o600, &bbolt.Options{ReadOnly: true})
	f.ok(err)
	defer src.Close()
	dst, err := bbolt.Open(to, 0o600, &bbolt.Options{NoFreelistSync: true})
	f.ok(err)
	f.ok(bbolt.Compact(dst, src, 0))
	f.ok(dst.Close())
}
