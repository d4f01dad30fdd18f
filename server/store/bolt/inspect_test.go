package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/store/bolt"
)

// TestInspect: it says what Open would, and leaves the file as it is.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hub.db")
	running := open(t, dir)
	if err := bolt.Inspect(path, keysIn(t, dir)); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("of a running hub: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := bolt.Inspect(path, keysIn(t, dir)); err != nil {
		t.Errorf("of a good file: %v", err)
	}
	if err := bolt.Inspect(path, keysIn(t, t.TempDir())); err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("with other keys: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("looking at the file changed it: %v", err)
	}
	raise(t, path, +1)
	if err := bolt.Inspect(path, keysIn(t, dir)); err == nil || !strings.Contains(err.Error(), "use the newer program") {
		t.Errorf("of a newer file: %v", err)
	}
	other := filepath.Join(dir, "other.db")
	if err := os.WriteFile(other, []byte(strings.Repeat("no database\n", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Inspect(other, keysIn(t, dir)); err == nil {
		t.Error("of no database: no error")
	}
	empty := filepath.Join(t.TempDir(), "hub.db") // a start was cut off right after it
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Inspect(empty, keysIn(t, dir)); err != nil {
		t.Errorf("of an empty file: %v", err)
	}
	s, err := bolt.Open(empty, keysIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
