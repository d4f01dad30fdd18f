package bolt_test

import (
	"encoding/binary"
	"errors"
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
)

// filled makes a database with a record of every kind in a folder of its own and
// closes it.
func filled(t *testing.T, people int) (path string, keys *seal.Keys) {
	t.Helper()
	dir := t.TempDir()
	path, keys = filepath.Join(dir, "hub.db"), keysIn(t, dir)
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	f := &sample{T: t, s: s, keys: keys, now: time.Now().UTC().Truncate(time.Microsecond)}
	f.all(people)
	f.ok(s.Close())
	return path, keys
}

func check(t *testing.T, path string, keys *seal.Keys) *bolt.Report {
	t.Helper()
	r, err := bolt.Check(t.Context(), path, bolt.CheckOptions{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func good(t *testing.T, path string, keys *seal.Keys) *bolt.Report {
	t.Helper()
	r := check(t, path, keys)
	if !r.OK() {
		t.Fatalf("of a good file: %+v", r.Problems)
	}
	return r
}

// change edits a file behind the store's back.
func change(t *testing.T, path string, edit func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(edit), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func bucket(tx *bbolt.Tx, name string) *bbolt.Bucket { return tx.Bucket([]byte(name)) }

// first is the first key of a bucket.
func first(tx *bbolt.Tx, name string) []byte {
	k, _ := bucket(tx, name).Cursor().First()
	return k
}

// TestCheckGood: a file with every kind of record is well, with and without keys,
// and the check leaves it as it is.
func TestCheckGood(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 20)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := good(t, path, keys)
	if !r.Opened || !r.Current || r.Layout != 2 || r.Records() < 500 {
		t.Errorf("%+v", r)
	}
	for _, b := range r.Pages.Buckets {
		if b.Records == 0 {
			t.Errorf("the sample has no record in %s, so its check was not tried", b.Name)
		}
	}
	if r := good(t, path, nil); r.Opened {
		t.Error("secrets were opened without keys")
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the check changed the file: %v", err)
	}
	if _, err := bolt.Check(t.Context(), path, bolt.CheckOptions{Keys: keysIn(t, t.TempDir())}); err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("with other keys: %v", err)
	}
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Check(t.Context(), path, bolt.CheckOptions{}); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("of a running hub's file: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	raise(t, path, +1)
	if _, err := bolt.Check(t.Context(), path, bolt.CheckOptions{}); err == nil || !strings.Contains(err.Error(), "use the newer program") {
		t.Errorf("of a newer file: %v", err)
	}
}

// flaws are what can be wrong in records, each with the bucket and the words it
// has to be reported with.
var flaws = map[string]struct {
	edit   func(*bbolt.Tx) error
	bucket string
	text   string
}{
	"order cut off": {func(tx *bbolt.Tx) error {
		k, v := bucket(tx, "orders").Cursor().First()
		return bucket(tx, "orders").Put(k, v[:len(v)/2])
	}, "orders", "broken"},
	"order's secret changed": {func(tx *bbolt.Tx) error {
		return editOrder(tx, func(r *recordv1.Order) { r.Sealed[len(r.Sealed)-1] ^= 1 })
	}, "orders", "can't be opened"},
	"order of another person": {func(tx *bbolt.Tx) error {
		return editOrder(tx, func(r *recordv1.Order) { r.NumberIndex[3] ^= 1 })
	}, "orders", "another number"},
	"order moved": {func(tx *bbolt.Tx) error {
		c := bucket(tx, "orders").Cursor()
		k, _ := c.First()
		_, v := c.Next()
		return bucket(tx, "orders").Put(k, append([]byte(nil), v...))
	}, "orders", "moved from another record"},
	"state": {func(tx *bbolt.Tx) error {
		return editOrder(tx, func(r *recordv1.Order) { r.State = 2 })
	}, "orders", "none that is ever written"},
	"history": {func(tx *bbolt.Tx) error {
		return editOrder(tx, func(r *recordv1.Order) { r.History[len(r.History)-1].State = 9 })
	}, "orders", "not the one its history ends with"},
	"history state": {func(tx *bbolt.Tx) error {
		return editOrder(tx, func(r *recordv1.Order) { r.History[0].State = 99 })
	}, "orders", "state that there is not"},
	"due entry missing":     {deleteFirst("orders_due"), "orders", "entry in orders_due is missing"},
	"late entry missing":    {deleteFirst("orders_late"), "orders", "entry in orders_late is missing"},
	"person's list missing": {deleteFirst("orders_of"), "orders", "entry in orders_of is missing"},
	"dead letter missing":   {deleteFirst("orders_dead"), "orders", "entry in orders_dead is missing"},
	"due entry too many":    {copyFirst("orders_due"), "orders_due", "no such order"},
	"late entry too many":   {copyFirst("orders_late"), "orders_late", "no such order"},
	"list entry too many":   {copyFirst("orders_of"), "orders_of", "no such order"},
	"dead letter too many":  {copyFirst("orders_dead"), "orders_dead", "no such order"},
	"wrong dead letter": {func(tx *bbolt.Tx) error {
		due := first(tx, "orders_due")
		return bucket(tx, "orders_dead").Put(due, []byte("TOO_OLD"))
	}, "orders_dead", "should not have this entry"},
	"list names another platform": {func(tx *bbolt.Tx) error {
		return bucket(tx, "orders_of").Put(first(tx, "orders_of"), []byte("elsewhere"))
	}, "orders", "says something else"},
	"tally": {func(tx *bbolt.Tx) error {
		k, v := bucket(tx, "order_tallies").Cursor().First()
		r := new(recordv1.OrderTally)
		if err := proto.Unmarshal(v, r); err != nil {
			return err
		}
		r.Queued++
		out, err := proto.Marshal(r)
		return errors.Join(err, bucket(tx, "order_tallies").Put(k, out))
	}, "order_tallies", "where"},
	"tally missing":      {deleteFirst("order_tallies"), "order_tallies", "no tally"},
	"order missing":      {deleteFirst("orders"), "requests", "which is missing"},
	"never removed":      {func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("expiry")) }, "sessions", "when it is to be removed"},
	"bucket missing":     {func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("reasks")) }, "reasks", "missing"},
	"wake missing":       {deleteFirst("reasks"), "lookups", "would not come back"},
	"unknown bucket":     {func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err }, "other", "no such bucket"},
	"meta":               {func(tx *bbolt.Tx) error { return bucket(tx, "meta").Delete([]byte("meta")) }, "meta", "missing or broken"},
	"session":            {putFirst("sessions", "\xff"), "sessions", "broken"},
	"verification":       {putFirst("verifications", "\xff"), "verifications", "broken"},
	"guard":              {putFirst("guards", "\xff"), "guards", "broken"},
	"counter":            {putFirst("counters", "\xff"), "counters", "broken"},
	"lookup":             {putFirst("lookups", "\xff"), "lookups", "broken"},
	"request":            {putFirst("requests", "\xff"), "requests", "broken"},
	"platform":           {putFirst("platforms", "\xff"), "platforms", "broken"},
	"lookup tally":       {putFirst("lookup_tallies", "\xff"), "lookup_tallies", "broken"},
	"lookup day":         {putFirst("lookup_days", "\xff"), "lookup_days", "broken"},
	"unbind day":         {putFirst("unbind_days", "\xff"), "unbind_days", "broken"},
	"entry of no use":    {func(tx *bbolt.Tx) error { return bucket(tx, "expiry").Put([]byte("x"), nil) }, "expiry", "broken"},
	"reask of no use":    {func(tx *bbolt.Tx) error { return bucket(tx, "reasks").Put([]byte("x"), nil) }, "reasks", "broken"},
	"platform elsewhere": {movePlatform, "platforms", "another platform"},
}

func editOrder(tx *bbolt.Tx, edit func(*recordv1.Order)) error {
	k, v := bucket(tx, "orders").Cursor().First()
	r := new(recordv1.Order)
	if err := proto.Unmarshal(v, r); err != nil {
		return err
	}
	edit(r)
	out, err := proto.Marshal(r)
	return errors.Join(err, bucket(tx, "orders").Put(k, out))
}

func deleteFirst(name string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return bucket(tx, name).Delete(first(tx, name)) }
}

func putFirst(name, v string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return bucket(tx, name).Put(first(tx, name), []byte(v)) }
}

// copyFirst puts the first entry in once more, under the id of no order.
func copyFirst(name string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		k, v := bucket(tx, name).Cursor().First()
		k = append([]byte(nil), k...)
		k[len(k)-1] ^= 1
		return bucket(tx, name).Put(k, append([]byte(nil), v...))
	}
}

func movePlatform(tx *bbolt.Tx) error {
	k, v := bucket(tx, "platforms").Cursor().First()
	return bucket(tx, "platforms").Put(append([]byte("x"), k...), append([]byte(nil), v...))
}

// TestCheckFindsFlaws: whatever is wrong in a record is found where it is, names
// the order where it is one, and says what to do.
func TestCheckFindsFlaws(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 6)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range flaws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := filepath.Join(t.TempDir(), "hub.db")
			if err := os.WriteFile(broken, file, 0o600); err != nil {
				t.Fatal(err)
			}
			change(t, broken, c.edit)
			r := check(t, broken, keys)
			for _, p := range r.Problems {
				if p.Action == "" || p.Bucket == "orders" && len(p.Record) < 20 {
					t.Errorf("no help: %+v", p)
				}
				if p.Bucket == c.bucket && strings.Contains(p.Text, c.text) {
					return
				}
			}
			t.Errorf("not found among %+v", r.Problems)
		})
	}
}

// pagesOfKind lists the pages of a file by kind, by reading their heads.
func pagesOfKind(file []byte) map[uint16][]int {
	const size = 4096
	out := make(map[uint16][]int)
	for at := 0; at+size <= len(file); at += size {
		if id := binary.NativeEndian.Uint64(file[at:]); id == uint64(at/size) && id != 2 && id != 3 { // which are of no use since the file was begun
			kind := binary.NativeEndian.Uint16(file[at+8:])
			out[kind] = append(out[kind], at)
		}
	}
	return out
}

// TestCheckDamagedPages flips bytes in pages of every kind: the check never ends
// the process, and finds what makes a difference.
func TestCheckDamagedPages(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 14)
	whole := filepath.Join(t.TempDir(), "whole.db") // without free pages, where damage is none
	(&sample{T: t}).compact(path, whole)
	file, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	good(t, whole, keys)
	kinds := pagesOfKind(file)
	if len(kinds[1]) == 0 || len(kinds[2]) == 0 || len(kinds[4]) != 2 {
		t.Fatalf("the sample has not every kind of page: %v", kinds)
	}
	broken := filepath.Join(t.TempDir(), "broken.db")
	for kind, pages := range kinds {
		found, tried := 0, 0
		for i, at := range pages {
			for _, offset := range []int{0, 3, 8, 12, 20, 24, 40, 64, 200 + 7*i%1000, 4000} {
				damaged := append([]byte(nil), file...)
				damaged[at+offset] ^= 0xa5
				if err := os.WriteFile(broken, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				tried++
				if r, err := bolt.Check(t.Context(), broken, bolt.CheckOptions{Keys: keys}); err != nil || !r.OK() {
					found++
				} else if offset < 16 && (kind != 4 || offset != 12) {
					t.Errorf("page %d of kind %d, byte %d: not found", at/4096, kind, offset)
				}
			}
		}
		t.Logf("pages of kind %d: %d of %d changed bytes found", kind, found, tried)
		if found*2 < tried {
			t.Errorf("pages of kind %d: only %d of %d changed bytes were found", kind, found, tried)
		}
	}
}

// TestCheckCutFile: a file that ends early, anywhere, is found damaged.
func TestCheckCutFile(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 10)
	whole := filepath.Join(t.TempDir(), "whole.db")
	(&sample{T: t}).compact(path, whole)
	file, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	pages := check(t, whole, keys).Pages
	for n := int64(0); n < pages.Size; n += 3331 {
		cut := filepath.Join(t.TempDir(), "cut.db")
		if err := os.WriteFile(cut, file[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := bolt.Check(t.Context(), cut, bolt.CheckOptions{Keys: keys}); err == nil && !r.Damaged() {
			t.Errorf("cut at %d: not found", n)
		}
	}
}
