package group

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tongcha/tongcha/server/fault"
)

// model is what has to be in the file: bucket and key, and the value.
type model map[string]string

func dump(tx *Tx) model {
	m := make(model)
	for _, b := range [][]byte{bucketA, bucketB} {
		c := tx.Bucket(b).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			m[string(b)+"/"+string(k)] = string(v)
		}
	}
	return m
}

var errOwn = errors.New("own")

// actor is one writer of the model test.
type actor struct {
	fate  int // 0, 1: stays; 2: error; 3: panic; 4: bbolt refuses a write
	steps []step
}

type step struct {
	bucket, key []byte
	value       string
	del         bool
	known       bool // the caller knows what is there
}

// randomActor touches few keys often, so that it meets itself and its neighbours;
// values are long enough for the trees to have several pages.
func randomActor(r *rand.Rand) actor {
	a := actor{fate: r.IntN(5)}
	for range r.IntN(12) {
		s := step{bucket: bucketA, key: fmt.Append(nil, "key-", r.IntN(40)), del: r.IntN(3) == 0, known: r.IntN(2) == 0}
		if r.IntN(3) == 0 {
			s.bucket = bucketB
		}
		s.value = strings.Repeat(fmt.Sprint(r.IntN(10)), r.IntN(3)*r.IntN(400)) // often empty
		a.steps = append(a.steps, s)
	}
	return a
}

// verb does the steps to the file and, if the actor stays, to the model. It runs
// where all verbs do, one at a time.
func (a actor) verb(t *testing.T, want *model) func(*Tx) error {
	return func(tx *Tx) error {
		if got := dump(tx); !maps.Equal(got, *want) {
			t.Errorf("before the verb: got %v, want %v", got, *want)
		}
		mine := maps.Clone(*want)
		for _, s := range a.steps {
			name, b := string(s.bucket)+"/"+string(s.key), tx.Bucket(s.bucket)
			old, ok := mine[name]
			if (b.Get(s.key) != nil) != ok || string(b.Get(s.key)) != old {
				t.Errorf("%s = %q, want %q, %t", name, b.Get(s.key), old, ok)
			}
			err := error(nil)
			switch {
			case s.del && ok && s.known:
				err = b.Remove(s.key, []byte(old))
				delete(mine, name)
			case s.del:
				err = b.Delete(s.key)
				delete(mine, name)
			case s.known && ok:
				err = b.Swap(s.key, []byte(old), []byte(s.value))
				mine[name] = s.value
			case s.known:
				err = b.PutNew(s.key, []byte(s.value))
				mine[name] = s.value
			case s.value == "":
				err = b.Put(s.key, nil)
				mine[name] = ""
			default:
				err = b.Put(s.key, []byte(s.value))
				mine[name] = s.value
			}
			if err != nil {
				t.Error(err)
			}
		}
		switch a.fate {
		case 2:
			return errOwn
		case 3:
			panic(errOwn)
		case 4:
			if err := tx.Bucket(bucketA).Put(nil, []byte("v")); err != nil {
				return errors.Join(errOwn, err)
			}
		}
		*want = mine
		return nil
	}
}

// result runs the verb as a caller would and says what the caller saw.
func result(db *DB, verb func(*Tx) error) (panicked any, err error) {
	defer func() { panicked = recover() }()
	return nil, db.Update(context.Background(), verb)
}

// TestABadVerbHarmsNoOther holds the file against a model that only the verbs
// that stay have written, before every verb, after every group and after a new
// start.
func TestABadVerbHarmsNoOther(t *testing.T) {
	for range 12 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { goodAndBad(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func goodAndBad(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	db := openIn(t, dir)
	want := make(model)
	for range 6 {
		release := held(t, db)
		var wg sync.WaitGroup
		for range r.IntN(20) {
			a := randomActor(r)
			wg.Go(func() {
				panicked, err := result(db, a.verb(t, &want))
				p, _ := panicked.(*Panic)
				if (a.fate == 3) != (p != nil && p.Value == any(errOwn)) || (a.fate == 2 || a.fate == 4) != errors.Is(err, errOwn) {
					t.Errorf("fate %d: error %v, panic %v", a.fate, err, panicked)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		same(t, db, want)
	}
	if got := db.Stats(); got.Commits > 6 {
		t.Errorf("six groups: %+v", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	defer db.Close()
	same(t, db, want)
	if err := db.Update(t.Context(), put("after", "all")); err != nil {
		t.Error(err)
	}
}

func same(t *testing.T, db *DB, want model) {
	t.Helper()
	err := db.View(context.Background(), func(tx *Tx) error {
		if got := dump(tx); !maps.Equal(got, want) {
			t.Errorf("in the file: %v, want %v", got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPanicSaysNothingTyped: its text has the stack of the verb, not the value.
func TestPanicSaysNothingTyped(t *testing.T) {
	db := openIn(t, t.TempDir())
	defer db.Close()
	defer func() {
		p, ok := recover().(*Panic)
		if !ok || p.Value != "13800130001" || strings.Contains(fault.Where(p), "13800130001") || !strings.Contains(fault.Where(p), "TestPanicSaysNothingTyped.func") {
			t.Errorf("panic = %v", p)
		}
	}()
	_ = db.Update(t.Context(), func(*Tx) error { panic("13800130001") })
	t.Error("the caller did not panic")
}

// TestUndoThatFails: a verb that can't be taken back must not be committed, nor
// may its neighbours be told anything but that.
func TestUndoThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db := openIn(t, dir)
		release := held(t, db)
		var wg sync.WaitGroup
		wg.Go(func() { wantFailed(t, db.Update(context.Background(), put("good", "v"))) })
		synctest.Wait()
		wg.Go(func() {
			wantFailed(t, db.Update(context.Background(), func(tx *Tx) error {
				b := tx.Bucket(bucketA)
				tx.changes = append(tx.changes, change{in: b.raw, had: true}) // bbolt takes no empty key
				return errOwn
			}))
		})
		synctest.Wait()
		wg.Go(func() { wantFailed(t, db.Update(context.Background(), put("behind", "v"))) })
		synctest.Wait()
		release()
		wg.Wait()
		<-db.Broken()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		db = openIn(t, dir)
		defer db.Close()
		same(t, db, model{})
	})
}

func wantFailed(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fault.StoreFailed) {
		t.Errorf("error = %v, want %s", err, fault.StoreFailed)
	}
}
