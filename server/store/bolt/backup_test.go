package bolt_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/store/bolt"
)

// running is an open store as a source of backups.
type running struct{ s *bolt.Store }

// CopyTo implements bolt.Source.
func (r running) CopyTo(ctx context.Context, w io.Writer) (p bolt.Pages, err error) {
	return p, r.s.Backup(ctx, func(pages bolt.Pages) io.Writer {
		p = pages
		return w
	})
}

// TestBackupUnderLoad: a backup taken while orders are enqueued has those that
// were acknowledged before it began, all of an order or nothing, and none that was
// begun after it ended.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := keysIn(t, dir)
	s, err := bolt.Open(filepath.Join(dir, "hub.db"), keys)
	if err != nil {
		t.Fatal(err)
	}
	f := &sample{T: t, s: s, keys: keys, now: time.Now()}
	var acknowledged atomic.Int64
	ids := make([][]string, 400)
	stop, ended, more := make(chan struct{}), make(chan struct{}), make(chan struct{}, len(ids))
	go func() {
		defer close(ended)
		for i := range ids {
			select {
			case <-stop:
				return
			default:
			}
			ids[i] = f.orders(f.person(i), "bank", "shop")
			acknowledged.Store(int64(i + 1))
			more <- struct{}{}
		}
	}()
	for n := range 3 {
		for acknowledged.Load() < int64(20*(n+1)) {
			<-more
		}
		from := acknowledged.Load()
		out := filepath.Join(dir, "backup.db")
		b, err := bolt.SaveBackup(t.Context(), running{s}, out, true, bolt.CheckOptions{Keys: keys})
		if err != nil || !b.Report.OK() {
			t.Fatalf("%v %+v", err, b)
		}
		to := acknowledged.Load() + 1
		had, err := bolt.Open(out, keys)
		if err != nil {
			t.Fatal(err)
		}
		orders, err := had.AllOrders(t.Context(), "", 0, 10000)
		f.ok(errors.Join(err, had.Close()))
		if got := int64(len(orders)); got < 3*from || got > 3*to {
			t.Errorf("the backup has %d orders; %d people had ordered 3 each before it, %d after", got, from, to)
		}
		if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the backup: %v %v", info.Mode(), err)
		}
		f.ok(os.Remove(out))
	}
	close(stop)
	<-ended
	f.ok(s.Close())
}

// TestBackupHoldsNobodyUp: while somebody takes a backup and does not go on, writers
// do, also when the file outgrows what it was.
func TestBackupHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := keysIn(t, dir)
	s, err := bolt.Open(filepath.Join(dir, "hub.db"), keys)
	if err != nil {
		t.Fatal(err)
	}
	f := &sample{T: t, s: s, keys: keys, now: time.Now()}
	r, w := io.Pipe()
	began, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- s.Backup(t.Context(), func(bolt.Pages) io.Writer {
			close(began)
			return w
		})
	}()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range 150 { // 64 KiB would have to be mapped anew several times
			f.orders(f.person(i), "bank", "shop", "video")
		}
	}()
	select {
	case <-written:
	case <-ctx.Done():
		t.Error("writers wait for the backup")
	}
	f.ok(r.CloseWithError(errors.New("left")))
	if err := <-over; err == nil {
		t.Error("a backup nobody took is said to be whole")
	}
	<-written
	f.ok(s.Close())
}

// broken is a source that ends early or lies.
type broken struct {
	from   string
	change func([]byte) []byte
	err    error
}

// CopyTo implements bolt.Source.
func (b broken) CopyTo(_ context.Context, w io.Writer) (bolt.Pages, error) {
	body, err := os.ReadFile(b.from)
	if err != nil {
		return bolt.Pages{}, err
	}
	if b.change != nil {
		body = b.change(body)
	}
	_, err = w.Write(body)
	return bolt.Pages{}, errors.Join(err, b.err)
}

// TestSaveBackupRefuses: whatever is not whole is not kept, and never in the place
// of a good one.
func TestSaveBackupRefuses(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 4)
	dir := t.TempDir()
	out := filepath.Join(dir, "backup.db")
	o := bolt.CheckOptions{Keys: keys}
	if _, err := bolt.SaveBackup(t.Context(), bolt.FileSource{Path: path}, out, false, o); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.SaveBackup(t.Context(), bolt.FileSource{Path: path}, out, false, o); !errors.Is(err, bolt.ErrExists) {
		t.Errorf("over another: %v", err)
	}
	flawed := filepath.Join(t.TempDir(), "flawed.db")
	if err := os.WriteFile(flawed, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	change(t, flawed, func(tx *bbolt.Tx) error { return bucket(tx, "orders").Put(first(tx, "orders"), []byte("\xff")) })
	for name, src := range map[string]bolt.Source{
		"cut":            broken{from: path, change: func(b []byte) []byte { return b[:8*4096] }},
		"ends early":     broken{from: path, err: errors.New("the hub left")},
		"page damaged":   broken{from: path, change: func(b []byte) []byte { b[5*4096] ^= 0xff; clear(b[6*4096 : 40*4096]); return b }},
		"no database":    broken{from: path, change: func([]byte) []byte { return []byte(strings.Repeat("x", 9999)) }},
		"record damaged": bolt.FileSource{Path: flawed},
		"no such file":   bolt.FileSource{Path: filepath.Join(dir, "nowhere")},
	} {
		if _, err := bolt.SaveBackup(t.Context(), src, out, true, o); err == nil {
			t.Errorf("%s: no error", name)
		}
		if now, err := os.ReadFile(out); err != nil || string(now) != string(whole) {
			t.Errorf("%s: the good backup was replaced (%v)", name, err)
		}
	}
	keep, link := filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(keep, []byte("keys"), 0o600), os.Symlink(keep, link)); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{keep, link, filepath.Dir(keep)} { // also with replace
		if _, err := bolt.SaveBackup(t.Context(), bolt.FileSource{Path: path}, to, true, o); !errors.Is(err, bolt.ErrNotBackup) {
			t.Errorf("over what is no backup: %v", err)
		}
	}
	if now, err := os.ReadFile(link); err != nil || string(now) != "keys" {
		t.Errorf("what is no backup was replaced: %v", err)
	}
	used, err := bolt.Open(out, keys)
	if err != nil {
		t.Fatal(err)
	}
	_, err = bolt.SaveBackup(t.Context(), bolt.FileSource{Path: path}, out, true, o)
	if err := used.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, bolt.ErrNotBackup) {
		t.Errorf("over a file that a hub has open: %v", err)
	}
	b, err := bolt.SaveBackup(t.Context(), bolt.FileSource{Path: flawed}, filepath.Join(dir, "flawed.db"), false, o)
	if err != nil || b.Report.OK() {
		t.Errorf("a backup with one broken record is better than none: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
