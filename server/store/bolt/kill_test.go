package bolt_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// What a process of its own does to a file, which the test kills in the middle.
const (
	victimDoes = "TEST_VICTIM_DOES"
	victimFile = "TEST_VICTIM_FILE"
	victimFrom = "TEST_VICTIM_FROM"
)

// TestVictim is that process.
func TestVictim(t *testing.T) {
	path := os.Getenv(victimFile)
	if path == "" {
		t.Skip("is run by TestKilledInTheMiddle")
	}
	keys, err := seal.Load(filepath.Join(filepath.Dir(path), "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	switch os.Getenv(victimDoes) {
	case "migrate":
		var s *bolt.Store
		if s, err = bolt.Open(path, keys); err == nil {
			err = s.Close()
		}
	case "restore":
		_, err = bolt.Restore(t.Context(), os.Getenv(victimFrom), path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: keys}})
	case "compact":
		_, err = bolt.Compact(t.Context(), path, bolt.CompactOptions{Planned: func(bolt.CompactPlan) error { return nil }})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledInTheMiddle: wherever a migration, a restore or a compaction is killed,
// there is a database, it is whole, and it is the old one or the new one.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"migrate", "restore", "compact"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			from, keys := golden(t, 1)
			orders := int64(48)
			path := from
			if what != "migrate" {
				s, err := bolt.Open(from, keys)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			took, killed := victim(t, what, path, path, time.Hour), 0
			for range 25 {
				if err := os.WriteFile(path, before, 0o600); err != nil {
					t.Fatal(err)
				}
				tidy(t, path)
				source := filepath.Join(filepath.Dir(path), "backup.db")
				if err := os.WriteFile(source, before, 0o600); err != nil {
					t.Fatal(err)
				}
				if victim(t, what, path, source, rand.N(took)) < 0 {
					killed++
				}
				r := good(t, path, keys)
				if n := records(r, "orders"); n != orders {
					t.Fatalf("%d orders, want %d", n, orders)
				}
				s, err := bolt.Open(path, keys)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if r := good(t, path, keys); !r.Current || records(r, "orders") != orders {
					t.Fatalf("after a start: %+v", r)
				}
				if n := len(backups(t, path)); what == "migrate" && n != 1 {
					t.Errorf("%d copies of the file", n)
				}
			}
			t.Logf("%d of 25 were killed before their end, which took %v", killed, took)
			if killed == 0 {
				t.Error("none was killed in the middle")
			}
		})
	}
}

func records(r *bolt.Report, name string) int64 {
	for _, b := range r.Pages.Buckets {
		if b.Name == name {
			return b.Records
		}
	}
	return -1
}

// tidy removes what earlier rounds left beside the file, but not what a crash may
// leave in the way.
func tidy(t *testing.T, path string) {
	t.Helper()
	for _, pattern := range []string{".v*.bak", ".replaced-*"} {
		old, err := filepath.Glob(path + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range old {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// victim runs the process and kills it after a time; it returns how long it took,
// or less than 0 where it was killed.
func victim(t *testing.T, what, path, from string, after time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), min(after, time.Minute))
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victimDoes+"="+what, victimFile+"="+path, victimFrom+"="+from)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return time.Since(began)
	case ctx.Err() == nil:
		t.Fatalf("%v\n%s", err, out)
	}
	return -1
}
