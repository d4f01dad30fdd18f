package bolt_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/store/storetest"
)

// open opens the store in dir with the keys that lie beside it.
func open(t *testing.T, dir string) storetest.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(dir, "hub.db"), keysIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keysIn(t testing.TB, dir string) *seal.Keys {
	t.Helper()
	path := filepath.Join(dir, "keys.json")
	if _, err := os.Stat(path); os.IsNotExist(err) {
		if err := seal.Create(path); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestContract(t *testing.T) { storetest.Run(t, open) }

// TestPorts holds the store to what storetest takes for granted.
var _ storetest.Store = (*bolt.Store)(nil)

func TestOpenWithOtherKeys(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := bolt.Open(filepath.Join(dir, "hub.db"), keysIn(t, t.TempDir()))
	if err == nil || !strings.Contains(err.Error(), "sealed with other keys") {
		t.Fatalf("open with other keys: %v", err)
	}
	if err := open(t, dir).Close(); err != nil { // and the refusal harmed nothing
		t.Fatal(err)
	}
}

func TestOpenNewerFile(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hub.db")
	raise(t, path, +1)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = bolt.Open(path, keysIn(t, dir))
	if err == nil || !strings.Contains(err.Error(), "use the newer program") {
		t.Fatalf("open of a newer file: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(after) != string(before) {
		t.Error("opening a newer file changed it")
	}
	raise(t, path, -1)
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

// raise changes the layout that a file says it has.
func raise(t *testing.T, path string, by int32) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		m := new(recordv1.Meta)
		if err := proto.Unmarshal(tx.Bucket([]byte("meta")).Get([]byte("meta")), m); err != nil {
			return err
		}
		m.SchemaVersion += by
		v, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		return tx.Bucket([]byte("meta")).Put([]byte("meta"), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := bolt.Open(filepath.Join(dir, "hub.db"), keysIn(t, dir))
	if err == nil || !strings.Contains(err.Error(), "in use by another hub") {
		t.Errorf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFileMode(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	info, err := os.Stat(filepath.Join(dir, "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %o, want 600", info.Mode().Perm())
	}
}
