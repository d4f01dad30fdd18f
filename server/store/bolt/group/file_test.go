package group_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tongcha/tongcha/server/store/bolt/group"
)

var names = [][]byte{[]byte("a"), []byte("b"), []byte("empty")}

// sample is a closed file with n records in a bucket that has branches, and some in
// one that lies in its parent's page.
func sample(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := group.Open(path, group.Options{Buckets: names, Begin: func(*group.Tx) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(context.Background(), func(tx *group.Tx) error {
		for i := range n {
			if err := tx.Bucket(names[0]).Put(fmt.Appendf(nil, "key %08d", i), bytes.Repeat([]byte{byte(i)}, 100+i%7*1000)); err != nil {
				return err
			}
		}
		return tx.Bucket(names[1]).Put([]byte("k"), []byte("v"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSurvey: what a survey of the raw pages counts is what bbolt counts.
func TestSurvey(t *testing.T) {
	path := sample(t, 3000)
	db, err := group.Open(path, group.Options{Buckets: names, Begin: func(*group.Tx) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.OpenFile(path); !errors.Is(err, group.ErrInUse) {
		t.Errorf("of a file in use: %v", err)
	}
	want, err := db.Pages(t.Context())
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := group.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := f.Survey(t.Context(), nil)
	if err != nil || got.Problem() {
		t.Fatalf("%v %+v", err, got)
	}
	if got.Size != want.Size || got.Free != want.Free || got.PageSize != want.PageSize || len(got.Buckets) != 3 {
		t.Errorf("surveyed %+v, counted %+v", got, want)
	}
	for i := range want.Buckets {
		w, g := want.Buckets[i], got.Buckets[i]
		if g.Name != w.Name || g.Records != w.Records || g.Bytes != w.Bytes || g.Branches != w.Branches || g.Leaves != w.Leaves || g.Allocated != w.Allocated || g.Used != w.Used || g.Depth != w.Depth {
			t.Errorf("surveyed %+v, counted %+v", g, w)
		}
	}
	if want.Buckets[0].Branches == 0 || want.Buckets[1].Records != 1 || want.Buckets[1].Bytes != 2 {
		t.Errorf("%+v", want.Buckets)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Survey(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a survey nobody waits for: %v", err)
	}
}

// TestCopyRecords: the copy holds the same in fewer pages, whatever the batches; a
// part of it is a part.
func TestCopyRecords(t *testing.T) {
	f, err := group.OpenFile(sample(t, 2000))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := f.Content(t.Context(), nil)
	if err != nil || whole.Records != 2001 {
		t.Fatalf("%+v %v", whole, err)
	}
	var sizes []int64
	for _, o := range []group.CopyOptions{{}, {Batch: 10_000}, {Fill: func([]byte) float64 { return 1 }}} {
		to := filepath.Join(t.TempDir(), "copy.db")
		got, err := f.CopyRecords(t.Context(), to, o)
		if err != nil || got != whole {
			t.Fatalf("%+v, want %+v: %v", got, whole, err)
		}
		c, err := group.OpenFile(to)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Content(t.Context(), nil)
		p, serr := c.Survey(t.Context(), nil)
		if err := errors.Join(err, serr, c.Close()); err != nil || again != whole || p.Problem() {
			t.Errorf("the copy holds %+v, want %+v: %v", again, whole, err)
		}
		sizes = append(sizes, p.Size-p.Free)
	}
	if sizes[2] > sizes[0] {
		t.Errorf("full pages take %d bytes, others %d", sizes[2], sizes[0])
	}
	part, err := f.CopyRecords(t.Context(), filepath.Join(t.TempDir(), "part.db"), group.CopyOptions{Most: whole.Bytes / 10})
	if err != nil || part.Bytes < whole.Bytes/10 || part.Bytes > whole.Bytes/5 {
		t.Errorf("%+v %v", part, err)
	}
}

// TestChange: each step is whole or not there.
func TestChange(t *testing.T) {
	path := sample(t, 10)
	refuse := errors.New("no")
	err := group.Change(path,
		func(tx group.LayoutTx) error { return errors.Join(tx.Drop(names[1]), tx.Make([]byte("c"))) },
		func(tx group.LayoutTx) error { return errors.Join(tx.Set([]byte("c"), []byte("k"), nil), refuse) })
	if !errors.Is(err, refuse) {
		t.Fatal(err)
	}
	f, err := group.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.View(func(tx *group.Tx) error {
		if tx.Has(names[1]) || !tx.Has([]byte("c")) || tx.Bucket([]byte("c")).Get([]byte("k")) != nil {
			t.Error("the first step is not there, or a part of the second is")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Change(path, func(group.LayoutTx) error { return nil }); !errors.Is(err, group.ErrInUse) {
		t.Errorf("of a file in use: %v", err)
	}
	if _, err := f.WriteTo(io.Discard); err != nil {
		t.Error(err)
	}
}

// FuzzSurvey: no file, whatever is in its pages, ends the process.
func FuzzSurvey(f *testing.F) {
	whole, err := os.ReadFile(sample(f, 40))
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:min(len(whole), 64<<10)]
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(5*4096), []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 0, 255, 255})
	f.Add(uint32(4096*3+16), []byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		file := bytes.Clone(whole)
		copy(file[int(at)%len(file):], change)
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := group.OpenFile(path)
		if err != nil {
			return
		}
		defer x.Close()
		p, err := x.Survey(t.Context(), nil)
		if err != nil || p.Problem() {
			return
		}
		x.CheckPages() // and what it lets through harms nobody
		if _, err := x.Content(t.Context(), nil); err != nil {
			t.Log(err)
		}
	})
}
