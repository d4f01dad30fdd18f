package group

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// TestFewAddresses: where the large map is refused, the file is opened all the same.
func TestFewAddresses(t *testing.T) {
	path, opened := filepath.Join(t.TempDir(), "group.db"), 0
	o := options()
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		if opened++; opened == 1 {
			return nil, &os.PathError{Op: "mmap", Path: name, Err: syscall.ENOMEM}
		}
		return os.OpenFile(name, flag, mode)
	}
	db, err := open(path, Options{Buckets: [][]byte{bucketA}, Begin: func(*Tx) error { return nil }}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(t.Context(), put("a", "v")); err != nil || opened != 2 {
		t.Errorf("%v, opened %d times", err, opened)
	}
}

// TestReplacedBeforeItIsThere: a file that is put in the place of one that a start
// has just made is not passed by.
func TestReplacedBeforeItIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "group.db")
	o := &bbolt.Options{Timeout: time.Second, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		if err == nil {
			err = os.Remove(name)
		}
		if err == nil {
			err = os.WriteFile(name, nil, 0o600)
		}
		return f, err
	}}
	db, err := open(path, Options{Begin: func(*Tx) error { return nil }}, o)
	if err == nil {
		_ = db.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "was replaced") {
		t.Errorf("error %v", err)
	}
}
