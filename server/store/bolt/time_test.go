package bolt_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// noted is the largest time that a closed file holds; zero for none.
func noted(t *testing.T, path string) (at time.Time) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		m := new(recordv1.Meta)
		if err := proto.Unmarshal(tx.Bucket([]byte("meta")).Get([]byte("meta")), m); err != nil {
			return err
		}
		if m.LargestTime != nil {
			at = m.GetLargestTime().AsTime()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return at
}

// openAt opens the file on a machine whose clock is away from the bubble's.
func openAt(t *testing.T, dir string, away time.Duration) (*bolt.Store, *clock.Clock, error) {
	t.Helper()
	c := clock.New(clock.Options{Wall: func() time.Time { return time.Now().Add(away) }})
	s, err := bolt.Open(filepath.Join(dir, "hub.db"), keysIn(t, dir), bolt.WithClock(c))
	return s, c, err
}

func TestTimeIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path, lived := filepath.Join(dir, "hub.db"), filepath.Join(dir, "killed.db")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(open(t, dir).Close())
		if at := noted(t, path); !at.IsZero() {
			t.Errorf("a store without a clock noted %v", at)
		}
		begin := time.Now()
		s, _, err := openAt(t, dir, 0) // an older file has no time, and is taken as it is
		must(err)
		look := func(want time.Duration) {
			t.Helper()
			b, err := os.ReadFile(path)
			must(err)
			must(os.WriteFile(lived, b, 0o600))
			if at := noted(t, lived).Sub(begin); at != want {
				t.Errorf("%v after the start %v is noted, want %v", time.Since(begin), at, want)
			}
		}
		look(0)
		time.Sleep(time.Hour)
		_, err = s.Sweep(t.Context(), time.Now(), 10)
		must(err)
		look(time.Hour)
		time.Sleep(noteEvery - 1)
		_, err = s.Sweep(t.Context(), time.Now(), 10)
		must(err)
		look(time.Hour)
		time.Sleep(time.Minute)
		must(s.Close())
		look(time.Hour + noteEvery - 1 + time.Minute)
	})
}

const noteEvery = time.Second

// TestAheadLeavesNoTrace: a start that is refused, and a check that says so, leave
// the file as it was.
func TestAheadLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "hub.db")
		s, _, err := openAt(t, dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const away = 31 * 24 * time.Hour
		var ahead *clock.AheadError
		if _, _, err := openAt(t, dir, away); !errors.As(err, &ahead) || ahead.Ahead != away {
			t.Fatalf("open: %v", err)
		}
		c := clock.New(clock.Options{Wall: func() time.Time { return time.Now().Add(away) }})
		if err := bolt.Inspect(path, keysIn(t, dir), bolt.WithClock(c)); !errors.As(err, &ahead) {
			t.Errorf("inspect: %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the file was changed (%v)", err)
		}
		s, c, err = openAt(t, dir, -time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if off := c.Off(); off != -time.Hour {
			t.Errorf("off %v", off)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
