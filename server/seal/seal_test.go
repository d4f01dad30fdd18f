package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/seal"
)

func newKeys(t *testing.T) (*seal.Keys, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := seal.Create(path); err != nil {
		t.Fatal(err)
	}
	k, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func TestSealAndOpen(t *testing.T) {
	k, path := newKeys(t)
	plain, context := []byte("+8613800138000"), []byte("orders\x00id1")
	sealed, err := k.Seal(plain, context)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Error("the sealed field can be read")
	}
	twice, err := k.Seal(plain, context)
	if err != nil || bytes.Equal(sealed, twice) {
		t.Errorf("the same twice shows that it is the same: %v", err)
	}
	later, err := seal.Load(path) // after a restart
	if err != nil {
		t.Fatal(err)
	}
	if got, err := later.Open(sealed, context); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := k.Open(sealed, []byte("orders\x00id2")); err == nil {
		t.Error("a field that was moved to another record opens")
	}
	for i := range sealed {
		torn := bytes.Clone(sealed)
		torn[i] ^= 1
		if _, err := k.Open(torn, context); err == nil {
			t.Fatalf("a field with byte %d flipped opens", i)
		}
	}
	for _, bad := range [][]byte{nil, sealed[:5], sealed[:len(sealed)-1]} {
		if _, err := k.Open(bad, context); err == nil {
			t.Errorf("a field cut to %d bytes opens", len(bad))
		}
	}
	other, _ := newKeys(t)
	if _, err := other.Open(sealed, context); err == nil {
		t.Error("other keys open the field")
	}
}

func TestSum(t *testing.T) {
	k, path := newKeys(t)
	parts := func(s ...string) (out [][]byte) {
		for _, x := range s {
			out = append(out, []byte(x))
		}
		return out
	}
	sums := map[[32]byte]string{}
	for name, sum := range map[string][32]byte{
		"ab,c": k.Sum("p", parts("ab", "c")...), "a,bc": k.Sum("p", parts("a", "bc")...), "abc": k.Sum("p", parts("abc")...),
		"abc,": k.Sum("p", parts("abc", "")...), ",abc": k.Sum("p", parts("", "abc")...), "none": k.Sum("p"), "q abc": k.Sum("q", parts("abc")...),
		"pabc": k.Sum("pabc"),
	} {
		if sums[sum] != "" {
			t.Errorf("%s and %s have one digest", name, sums[sum])
		}
		sums[sum] = name
	}
	later, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if later.Sum("p", []byte("abc")) != k.Sum("p", []byte("abc")) {
		t.Error("a restart changes digests")
	}
	other, _ := newKeys(t)
	if other.Sum("p", []byte("abc")) == k.Sum("p", []byte("abc")) {
		t.Error("two key files give one digest")
	}
}

func TestKeyFile(t *testing.T) {
	_, path := newKeys(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %o, want 600", info.Mode().Perm())
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := seal.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over keys: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the keys were overwritten: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o610, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	var wg sync.WaitGroup
	won := make(chan struct{}, 20)
	for range 20 {
		wg.Go(func() {
			if seal.Create(path) == nil {
				won <- struct{}{}
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d of 20 made the key file", len(won))
	}
}

func TestBrokenKeyFile(t *testing.T) {
	_, path := newKeys(t)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]string{
		"empty": "", "cut": string(body[:len(body)/2]), "not JSON": "keys", "version 2": `{"version":2}`, "no keys": `{"version":1}`,
		"one keyset": `{"version":1,"seal":` + string(whole["seal"]) + `}`,
		"swapped":    `{"version":1,"seal":` + string(whole["index"]) + `,"index":` + string(whole["seal"]) + `}`,
	} {
		p := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(p, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Load(p); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	if _, err := seal.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestIDs(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	var ids []string
	for range 1000 {
		ids = append(ids, seal.NewID(at))
		at = at.Add(time.Millisecond)
	}
	ids = append(ids, seal.NewID(at.AddDate(500, 0, 0)))
	if !slices.IsSorted(ids) {
		t.Error("ids don't sort by time")
	}
	seen := make(map[string]bool)
	for range 1000 {
		seen[seal.NewID(at)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d ids of one moment, want 1000", len(seen))
	}
	for _, id := range ids {
		if !seal.IsID(id) {
			t.Errorf("%q is no id", id)
		}
	}
	good := ids[0]
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good[:25]) + "A", "i" + good[1:], "l" + good[1:], "o" + good[1:], "u" + good[1:], "/" + good[1:], "\x00" + good[1:], good[:24] + "é"} {
		if seal.IsID(bad) {
			t.Errorf("%q is an id", bad)
		}
	}
}
