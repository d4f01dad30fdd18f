package bolt

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

func keysFile(t *testing.T, dir string) *seal.Keys {
	t.Helper()
	path := filepath.Join(dir, "keys.json")
	if err := seal.Create(path); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// window reads the days around now.
func window(t *testing.T, s *Store, now time.Time) (map[coverage.Cell]coverage.Tally, map[coverage.Cell]coverage.Unbinds, coverage.Day) {
	t.Helper()
	lookups, orders := make(map[coverage.Cell]coverage.Tally), make(map[coverage.Cell]coverage.Unbinds)
	first, err := s.EachDay(t.Context(), coverage.DayOf(now)-60, coverage.DayOf(now)+60,
		func(c coverage.Cell, x coverage.Tally) { lookups[c] = x }, func(c coverage.Cell, u coverage.Unbinds) { orders[c] = u })
	if err != nil {
		t.Fatal(err)
	}
	return lookups, orders, first
}

// dropBuckets takes buckets out of a closed file.
func dropBuckets(t *testing.T, path string, names ...[]byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range names {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestFileFromBeforeDays: a file whose counts know no days keeps what it has, its
// open orders are due on their day unless that is over, and counting by day begins
// once.
func TestFileFromBeforeDays(t *testing.T) {
	dir := t.TempDir()
	keys, path, now := keysFile(t, dir), filepath.Join(dir, "hub.db"), time.Now()
	s, err := Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	due := now.Add(48 * time.Hour)
	err = s.db.Update(t.Context(), func(tx *group.Tx) error { // as the program before left it
		m := new(recordv1.Meta)
		if _, err := load(tx, bucketMeta, metaKey, m); err != nil {
			return err
		}
		m.FirstCountedDay = nil
		if err := save(tx, bucketMeta, metaKey, m); err != nil {
			return err
		}
		old := &recordv1.LookupTally{Asked: 7, Answered: 5, Silent: 2, Malformed: 1, Buckets: make([]int64, coverage.Buckets)}
		if err := save(tx, bucketLookupTallies, []byte("shop"), old); err != nil {
			return err
		}
		if err := save(tx, bucketPlatforms, []byte("shop"), &recordv1.Platform{PlatformId: "shop", DisplayName: "商店"}); err != nil {
			return err
		}
		overdue := key(timeKey(now.Add(-48*time.Hour)), []byte("overdue"))
		if err := tx.Bucket(bucketOrdersLate).Put(overdue, []byte("shop")); err != nil {
			return err
		}
		return tx.Bucket(bucketOrdersLate).Put(key(timeKey(due), []byte("order")), []byte("shop"))
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // the second opening begins nothing anew
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			dropBuckets(t, path, bucketLookupDays, bucketUnbindDays)
		}
		if s, err = Open(path, keys); err != nil {
			t.Fatal(err)
		}
		all, err := s.Tallies(t.Context())
		if err != nil || all["shop"].Asked != 7 || all["shop"].Late != 0 {
			t.Errorf("%+v %v", all, err)
		}
		entries, err := s.Platforms(t.Context())
		if err != nil || len(entries) != 1 || entries[0].Listing != (platform.Listing{}) {
			t.Errorf("%+v %v", entries, err)
		}
		lookups, orders, first := window(t, s, now)
		if first != coverage.DayOf(now) || len(lookups) != 0 || len(orders) != 1 || orders[coverage.Cell{Platform: "shop", Day: coverage.DueDay(due)}].Due != 1 {
			t.Errorf("from %v: %+v %+v", first, lookups, orders)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOrderLeavesItsEnd: an order that is opened again and ends anew counts once.
func TestOrderLeavesItsEnd(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "hub.db"), keysFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	taken, first, second := now.Add(-9*24*time.Hour), now.Add(-7*24*time.Hour), now
	in := func(state unbind.State, at time.Time, reason string) unbind.Order {
		return unbind.Order{ID: "o", Platform: "shop", CreateTime: taken, DueTime: taken.Add(5 * 24 * time.Hour), State: state, StateTime: at, RefusalReason: reason}
	}
	move := func(before, after unbind.Order) {
		t.Helper()
		if err := s.db.Update(t.Context(), func(tx *group.Tx) error { return settle(tx, []any{moved{before, after}}) }); err != nil {
			t.Fatal(err)
		}
	}
	sum := func() (u coverage.Unbinds) {
		_, orders, _ := window(t, s, now)
		for _, o := range orders {
			u.Merge(o)
		}
		return u
	}
	queued := in(unbind.Queued, taken, "")
	for _, end := range []unbind.Order{in(unbind.Abandoned, first, ""), in(unbind.Refused, first, "HAS_DEBT"), in(unbind.Completed, first, ""), in(unbind.Cancelled, first, "")} {
		move(unbind.Order{}, queued)
		before := sum()
		move(queued, end)
		move(end, queued)
		if u := sum(); u.Completed != before.Completed || u.Refusals() != before.Refusals() || u.Abandoned != 0 || u.Cancelled != 0 || u.Due != before.Due || u.OnTime != before.OnTime || u.Ends != before.Ends {
			t.Errorf("%v taken back: %+v, before %+v", end.State, u, before)
		}
		move(queued, in(unbind.Completed, second, ""))
	}
	u := sum()
	if u.Taken != 4 || u.Completed != 4 || u.Due != 4 || u.OnTime != 0 || u.Ends[coverage.EndBucket(9*24*time.Hour)] != 4 {
		t.Errorf("%+v", u)
	}
	if rate, ok := u.OnTimeRate(); !ok || rate != 0 {
		t.Errorf("on time: %v %v", rate, ok)
	}
}
