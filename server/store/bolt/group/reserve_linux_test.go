package group

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// taken is how many bytes the file has on the disk, holes left out.
func taken(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestRoomIsTakenAhead: behind the pages in use there is always as much room on
// the disk as the next group may need, also once the file has grown.
func TestRoomIsTakenAhead(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	defer db.Close()
	for i := range 12 {
		if err := db.Update(t.Context(), put(string(rune('a'+i)), string(make([]byte, 2<<20)))); err != nil {
			t.Fatal(err)
		}
		var used int64
		if err := db.bolt.View(func(raw *bbolt.Tx) error { used = raw.Size(); return nil }); err != nil {
			t.Fatal(err)
		}
		if got := taken(t, filepath.Join(dir, "group.db")); got < used+ahead/4 {
			t.Fatalf("after %d writes %d bytes are in use and %d taken", i+1, used, got)
		}
	}
}

// TestNoRoomIsNoFailure: a disk without room for what is taken ahead still takes
// what fits, and it is not asked with every write.
func TestNoRoomIsNoFailure(t *testing.T) {
	r := reserve{path: filepath.Join(t.TempDir(), "absent", "group.db")}
	for range retryAfter {
		if err := r.keep(1); err != nil {
			t.Fatal(err)
		}
	}
	if r.rest != 1 || r.upto != 0 {
		t.Errorf("%+v", r)
	}
}

// TestHalfMadeFileIsTakenAway: a first start that a disk stopped must not keep the
// next one out.
func TestHalfMadeFileIsTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "group.db")
	o := &bbolt.Options{Timeout: time.Second, OpenFile: func(p string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(p, flag, mode)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := f.Write(make([]byte, 5000)); err != nil { // half of what bbolt begins with
			return nil, err
		}
		return nil, syscall.ENOSPC
	}}
	if _, err := open(path, Options{}, o); err == nil {
		t.Fatal("opened")
	}
	db, err := Open(path, Options{Buckets: [][]byte{bucketA}, Begin: func(*Tx) error { return nil }})
	if err != nil {
		t.Fatalf("the next start: %v", err)
	}
	defer db.Close()
}
