package group_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// forge changes a meta page, which lies at at, so that its sum fits.
func forge(file []byte, at int, change func(body []byte)) {
	body := file[at+16 : at+16+64]
	change(body)
	sum := fnv.New64a()
	_, _ = sum.Write(body[:56])
	binary.NativeEndian.PutUint64(body[56:], sum.Sum64())
}

// TestForgedMetas: the pages that say where all else is can be forged with a sum
// that fits, and no value in them ends the process.
func TestForgedMetas(t *testing.T) {
	whole, err := os.ReadFile(sample(t, 40))
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:min(len(whole), 256<<10)]
	e := binary.NativeEndian
	values := []uint64{0, 1, 2, 3, 511, 512, 1 << 10, 1 << 13, 1 << 16, 1 << 30, 1 << 31, 1<<32 - 1, 1 << 52, 1 << 63, 1<<64 - 1}
	try := func(name string, change func(file []byte)) {
		t.Run(name, func(t *testing.T) {
			file := append([]byte(nil), whole...)
			change(file)
			path := filepath.Join(t.TempDir(), "x.db")
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := group.OpenFile(path)
			if err != nil {
				return
			}
			defer f.Close()
			if p, err := f.Survey(t.Context(), nil); err != nil || p.Problem() {
				return
			}
			f.CheckPages()
			if _, err := f.Content(t.Context(), nil); err != nil {
				t.Log(err)
			}
		})
	}
	for field, at := range map[string]int{"page size": 8, "root": 16, "free list": 32, "high": 40} {
		for _, v := range values {
			for which, metas := range map[string][]int{"first": {0}, "second": {4096}, "both": {0, 4096}} {
				try(fmt.Sprintf("%s of the %s is %d", field, which, v), func(file []byte) {
					for _, m := range metas {
						forge(file, m, func(b []byte) {
							if at == 8 {
								e.PutUint32(b[at:], uint32(v))
							} else {
								e.PutUint64(b[at:], v)
							}
							e.PutUint64(b[48:], 1<<40+uint64(m)) // it is the newer one
						})
					}
				})
			}
		}
	}
}

// TestTwoPageSizes: the two metas of one file disagree about the size of a page.
// Counted in small pages the file is empty and well; counted in large ones, as
// bbolt does, which goes by the first meta, its root leads out of the file.
func TestTwoPageSizes(t *testing.T) {
	file := make([]byte, 64<<10)
	e := binary.NativeEndian
	page := func(at int, id uint64, kind, count uint16) []byte {
		e.PutUint64(file[at:], id)
		e.PutUint16(file[at+8:], kind)
		e.PutUint16(file[at+10:], count)
		return file[at+16:]
	}
	meta := func(at int, id, txid uint64, size uint32) {
		page(at, id, 4, 0)
		forge(file, at, func(b []byte) {
			e.PutUint32(b, 0xED0CDAED)
			e.PutUint32(b[4:], 2)
			e.PutUint32(b[8:], size)
			e.PutUint64(b[16:], 2)
			e.PutUint64(b[32:], 1<<64-1) // no free list
			e.PutUint64(b[40:], uint64(len(file))/uint64(size))
			e.PutUint64(b[48:], txid)
		})
	}
	meta(0, 0, 1, 4096)
	meta(4096, 1, 2, 512)
	page(2*512, 2, 2, 0)           // an empty leaf
	child := page(2*4096, 2, 1, 1) // a branch
	e.PutUint32(child, 16)         // its key lies behind it
	e.PutUint32(child[4:], 1)      // and is short
	e.PutUint64(child[8:], 1<<40)  // what it leads to is nowhere
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := group.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := f.Survey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Problem() {
		f.CheckPages() // which must not be reached: it ends the process
		t.Error("nothing is wrong with it")
	}
}
