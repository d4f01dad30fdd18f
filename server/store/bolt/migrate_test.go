package bolt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// golden copies a file of an older layout and its keys into a folder of its own.
func golden(t *testing.T, layout int) (path string, keys *seal.Keys) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "hub.db")
	for from, to := range map[string]string{fmt.Sprintf("testdata/v%d.db", layout): path, fmt.Sprintf("testdata/v%d.keys.json", layout): filepath.Join(dir, "keys.json")} {
		body, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, keysIn(t, dir)
}

func backups(t *testing.T, path string) []string {
	t.Helper()
	all, err := filepath.Glob(path + ".v*-*.bak")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMigrateLayout1: a file that the code of layout 1 wrote is brought to this
// layout at its first start, whole, and is kept as it was.
func TestMigrateLayout1(t *testing.T) {
	t.Parallel()
	path, keys := golden(t, 1)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r := good(t, path, keys); r.Layout != 1 || r.Current {
		t.Fatalf("the file is of layout %d", r.Layout)
	}
	m, older, err := bolt.MigrationOf(path, keys)
	if err != nil || !older || m.From != 1 || m.To != 2 || m.Need < int64(len(before)) {
		t.Fatalf("%+v %v %v", m, older, err)
	}
	if err := bolt.Inspect(path, keys); err != nil {
		t.Fatalf("an older file is refused: %v", err)
	}
	var told []string
	s, err := bolt.Open(path, keys, bolt.WithNotice(func(text string, args ...any) { told = append(told, fmt.Sprint(text, args)) }))
	if err != nil {
		t.Fatal(err)
	}
	byState := make(map[unbind.State]int)
	orders, err := s.AllOrders(t.Context(), "", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orders {
		byState[o.State]++
		if o.CreateTime.Year() != 2026 || o.OpenTime != o.CreateTime || len(o.History) == 0 || o.Number.IsZero() {
			t.Errorf("%+v", o)
		}
	}
	if len(orders) != 48 || byState[unbind.Abandoned] == 0 || byState[unbind.Queued] == 0 || len(byState) != 7 {
		t.Errorf("%d orders: %v", len(orders), byState)
	}
	dead, _, err := s.DeadLetters(t.Context(), unbind.DeadLetterQuery{Limit: 100, Reason: "TOO_OLD"})
	if err != nil || len(dead) != byState[unbind.Abandoned] {
		t.Errorf("%d dead letters, want %d: %v", len(dead), byState[unbind.Abandoned], err)
	}
	// Every open order is found by whoever orders the same again.
	f := &sample{T: t, s: s, keys: keys, now: time.Now()}
	for _, o := range orders {
		if o.State != unbind.Queued {
			continue
		}
		again := unbind.New(seal.NewID(f.now), f.now, f.now.Add(time.Hour), unbind.Order{Platform: o.Platform, Subject: o.Subject, NumberIndex: o.NumberIndex, Number: o.Number, AccountRefs: []string{"r1"}})
		placed, err := s.Enqueue(t.Context(), unbind.Enqueue{Subject: o.Subject, NumberIndex: o.NumberIndex, Now: f.now, Items: []unbind.Item{{Platform: o.Platform, Order: &again}}})
		f.ok(err)
		if placed[0].Order.ID == again.ID {
			t.Errorf("order %s was not found by a repeat", o.ID)
		}
	}
	f.ok(s.Close())
	if r := good(t, path, keys); !r.Current {
		t.Errorf("after the start the file is of layout %d", r.Layout)
	}
	kept := backups(t, path)
	if len(kept) != 1 || len(told) != 3 || !strings.Contains(told[1], kept[0]) {
		t.Fatalf("kept %v, told %v", kept, told)
	}
	info, err := os.Stat(kept[0])
	f.ok(err)
	if r := good(t, kept[0], keys); r.Layout != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is of layout %d, mode %o", r.Layout, info.Mode().Perm())
	}
	s, err = bolt.Open(path, keys) // and only once
	f.ok(err)
	f.ok(s.Close())
	if again := backups(t, path); len(again) != 1 {
		t.Errorf("a second start copied the file again: %v", again)
	}
}

// TestMigrateRefused: what a migration can't begin with leaves the file as it is.
func TestMigrateRefused(t *testing.T) {
	t.Parallel()
	path, keys := golden(t, 1)
	if _, err := bolt.Open(path, keysIn(t, t.TempDir())); err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("with other keys: %v", err)
	}
	change(t, path, func(tx *bbolt.Tx) error { return bucket(tx, "orders").Put(first(tx, "orders"), []byte("\xff")) })
	if _, err := bolt.Open(path, keys); err == nil || !strings.Contains(err.Error(), "is broken") || !strings.Contains(err.Error(), "is as it was") {
		t.Errorf("with a broken order: %v", err)
	}
	if r := check(t, path, keys); r.Layout != 1 || len(r.Found) != 1 {
		t.Errorf("after that: %+v", r)
	}
	for range 3 { // a hub that is started again and again
		if _, err := bolt.Open(path, keys); err == nil {
			t.Error("opened")
		}
	}
	if all := backups(t, path); len(all) != 1 {
		t.Errorf("copies %v", all)
	}
}
