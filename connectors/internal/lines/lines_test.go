package lines

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func reopen(t *testing.T, path string) (*File, []string) {
	t.Helper()
	var got []string
	f, err := Open(path, func(b []byte) error { got = append(got, string(b)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, got
}

func TestTornLineIsCutAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	if err := os.WriteFile(path, []byte("one\ntwo\nthr"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, got := reopen(t, path)
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("lines = %q", got)
	}
	if err := f.Write([]byte("three\n")); err != nil {
		t.Fatal(err)
	}
	if _, got = reopen(t, path); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Fatalf("after reopening: %q", got)
	}
}

func TestConcurrentWritesKeepWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	f, _ := reopen(t, path)
	var wg sync.WaitGroup
	line := strings.Repeat("x", 300)
	for range 16 {
		wg.Go(func() {
			for range 8 {
				if err := f.Write([]byte(line + "\n")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_, got := reopen(t, path)
	if len(got) != 128 {
		t.Fatalf("%d lines, want 128", len(got))
	}
	for _, l := range got {
		if l != line {
			t.Fatal("lines were mixed")
		}
	}
}

func TestNoWriteAfterAFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	f, _ := reopen(t, path)
	f.f.Close() // the next write fails
	if f.Write([]byte("a\n")) == nil {
		t.Fatal("a write to a closed file succeeded")
	}
	if err := f.Write([]byte("b\n")); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "earlier error") {
		t.Fatalf("second write: %v", err)
	}
}

func TestErrorNamesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	if err := os.WriteFile(path, []byte("ok\nbad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, func(b []byte) error {
		if string(b) == "bad" {
			return errors.New("not understood")
		}
		return nil
	})
	if err == nil || err.Error() != "a.ndjson: line 2: not understood" {
		t.Fatalf("err = %v", err)
	}
	if f, err := Open(filepath.Join(t.TempDir(), "b"), nil); err != nil {
		t.Fatal(err)
	} else if _, err := f.Append([]byte("no newline")); err == nil {
		t.Fatal("a block without a newline was taken")
	}
}
