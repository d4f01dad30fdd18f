package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

func metaOf(t *testing.T, path string) *recordv1.Meta {
	t.Helper()
	m := new(recordv1.Meta)
	change(t, path, func(tx *bbolt.Tx) error { return proto.Unmarshal(bucket(tx, "meta").Get([]byte("meta")), m) })
	return m
}

func restore(t *testing.T, backup, path string, keys *seal.Keys) *bolt.Restored {
	t.Helper()
	r, err := bolt.Restore(t.Context(), backup, path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: keys}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRestore: what a database says of the past is believed but for what would be
// wrong, and what limits people and platforms is taken from the present one.
func TestRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, keys := filepath.Join(dir, "hub.db"), keysIn(t, dir)
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	f := &sample{T: t, s: s, keys: keys, now: time.Now()}
	f.ok(s.PutPlatform(t.Context(), platform.Entry{ID: "shop", DisplayName: "shop", Category: "网上购物"}))
	p := f.person(1)
	session := f.session(p)
	f.lookups(p, session)
	ids := f.order(p, []string{"r1"}, "shop", "bank", "video")
	backup := filepath.Join(dir, "backup.db")
	if _, err := bolt.SaveBackup(t.Context(), running{s}, backup, false, bolt.CheckOptions{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	// What happens after the backup is forgotten, but for what limits.
	for range 5 {
		f.ok(s.Close())
		s, err = bolt.Open(path, keys)
		f.ok(err)
		f.s = s
	}
	fresh := f.order(f.person(2), []string{"r1"}, "shop")
	now := time.Now()
	claims, _, err := s.Claim(t.Context(), unbind.ClaimRequest{Now: now, Lease: time.Hour, Max: 10, Free: func(platform.ID) int { return 10 }})
	f.ok(err)
	var last uint64
	for _, c := range claims {
		last = max(last, c.Token)
		switch c.Order.ID {
		case ids[0]:
			_, err = s.Finish(t.Context(), c, unbind.HolderChanged(now))
		case ids[1]:
			_, err = s.Finish(t.Context(), c, unbind.Answered(unbind.Attempt{Began: now, Ended: now}, platform.Report{Stage: platform.StageCompleted, Time: now}, time.Time{}))
		}
		f.ok(err)
	}
	f.ok(s.PutPlatform(t.Context(), platform.Entry{ID: "shop", DisplayName: "shop", Category: "网上购物", Suspended: true, SuspendReason: "detaches the wrong accounts"}))
	f.order(p, []string{"r7"}, "shop") // one more of today's orders
	f.ok(s.Close())
	opens := metaOf(t, path).GetOpens()
	present, err := os.ReadFile(path)
	f.ok(err)

	dry, err := bolt.Restore(t.Context(), backup, path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: keys}, DryRun: true})
	f.ok(err)
	if now, err := os.ReadFile(path); err != nil || string(now) != string(present) || dry.Open != 2 {
		t.Errorf("a dry run changed the database, or foresaw something else: %v %+v", err, dry)
	}
	r := restore(t, backup, path, keys)
	if r.Open != 2 || r.Cancelled != 1 || r.Lost != 2 || r.Voided != 3 || !r.Read || len(r.Suspended) != 1 {
		t.Errorf("%+v", r)
	}
	if kept, err := os.ReadFile(r.Kept); err != nil || string(kept) != string(present) {
		t.Errorf("the present database was not kept: %v", err)
	}
	if m := metaOf(t, path); m.GetOpens() <= opens+1000 {
		t.Errorf("opened %d times, the database before %d: tokens may come twice", m.GetOpens(), opens)
	}
	good(t, path, keys)

	s, err = bolt.Open(path, keys)
	f.ok(err)
	defer s.Close()
	want := map[string]unbind.State{ids[0]: unbind.Cancelled, ids[1]: unbind.Queued, ids[2]: unbind.Queued}
	for id, state := range want {
		o, err := s.AnyOrder(t.Context(), id)
		f.ok(err)
		if o.State != state || state == unbind.Queued && (!o.Sent || !o.HolderChecked.IsZero()) {
			t.Errorf("order %s: %+v", id, o)
		}
		if _, err := s.Cancel(t.Context(), p.subject, id, unbind.CancelledByPerson(now)); err == nil {
			t.Errorf("order %s, which may have been sent, was cancelled", id)
		}
	}
	if _, err := s.AnyOrder(t.Context(), fresh[0]); !errors.Is(err, fault.UnbindNotFound) {
		t.Errorf("an order of after the backup: %v", err)
	}
	if _, err := s.TouchSession(t.Context(), session.Key, now, time.Hour); !errors.Is(err, fault.SessionInvalid) {
		t.Errorf("a session lives on: %v", err)
	}
	again, _, err := s.Claim(t.Context(), unbind.ClaimRequest{Now: now.Add(time.Minute), Lease: time.Hour, Max: 10, Free: func(platform.ID) int { return 10 }})
	f.ok(err)
	for _, c := range again {
		if c.Token <= last {
			t.Errorf("token %d after %d", c.Token, last)
		}
	}
	entries, err := s.Platforms(t.Context())
	f.ok(err)
	if len(entries) != 1 || !entries[0].Suspended {
		t.Errorf("a platform suspended since is asked again: %+v", entries)
	}
	more := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{Platform: "other", Subject: p.subject, NumberIndex: p.index, Number: p.number})
	if _, err := s.Enqueue(t.Context(), unbind.Enqueue{Subject: p.subject, NumberIndex: p.index, Now: now, DailyLimit: 4, Items: []unbind.Item{{Platform: "other", Order: &more}}}); !errors.Is(err, fault.DailyLimit) {
		t.Errorf("today's count was lowered: %v", err)
	}
}

// TestRestoreWhereNothingCanBeRead: a database that is damaged, or none, is no
// hindrance; an older backup is migrated.
func TestRestoreWhereNothingCanBeRead(t *testing.T) {
	t.Parallel()
	backup, keys := golden(t, 1)
	for name, present := range map[string][]byte{"none": nil, "no database": []byte(strings.Repeat("x", 9999)), "empty": {}} {
		path := filepath.Join(t.TempDir(), "hub.db")
		if present != nil {
			if err := os.WriteFile(path, present, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := restore(t, backup, path, keys)
		if r.Read || r.Present != (present != nil) || r.Open == 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if kept, err := os.ReadFile(r.Kept); present != nil && (err != nil || string(kept) != string(present)) {
			t.Errorf("%s was not kept: %v", name, err)
		}
		if r := good(t, path, keys); !r.Current {
			t.Errorf("%s: layout %d", name, r.Layout)
		}
		if all := backups(t, path+".restore"); len(all) != 0 {
			t.Errorf("%s: copies of the copy: %v", name, all)
		}
	}
}

// TestRestoreRefuses: nothing is touched where the backup is not good or a hub runs.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 3)
	backup, file := filepath.Join(t.TempDir(), "backup.db"), []byte(nil)
	if _, err := bolt.SaveBackup(t.Context(), bolt.FileSource{Path: path}, backup, false, bolt.CheckOptions{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(change func([]byte) []byte) string {
		name := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(name, change(append([]byte(nil), file...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	flawed := damaged(func(b []byte) []byte { return b })
	change(t, flawed, func(tx *bbolt.Tx) error { return bucket(tx, "orders").Put(first(tx, "orders"), []byte("\xff")) })
	newer := damaged(func(b []byte) []byte { return b })
	raise(t, newer, +1)
	for name, c := range map[string]struct {
		backup string
		keys   *seal.Keys
	}{
		"cut":         {damaged(func(b []byte) []byte { return b[:len(b)-4096] }), keys},
		"no database": {damaged(func([]byte) []byte { return []byte("no") }), keys},
		"flawed":      {flawed, keys},
		"newer":       {newer, keys},
		"other keys":  {backup, keysIn(t, t.TempDir())},
		"no keys":     {backup, nil},
	} {
		if _, err := bolt.Restore(t.Context(), c.backup, path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: c.keys}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// What a restore writes under is removed at its beginning and at its end.
	under := path + ".restore"
	if err := os.Link(backup, under); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Restore(t.Context(), under, path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: keys}}); err == nil {
		t.Error("from the file it writes under: no error")
	}
	if err := os.Remove(under); err != nil {
		t.Errorf("the backup is gone: %v", err)
	}
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Restore(t.Context(), backup, path, bolt.RestoreOptions{CheckOptions: bolt.CheckOptions{Keys: keys}}); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("beside a running hub: %v", err)
	}
	if _, err := bolt.Compact(t.Context(), path, bolt.CompactOptions{Planned: func(bolt.CompactPlan) error { return nil }}); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("compaction beside a running hub: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 2 || len(before) == 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestCompact: the same records in less room, and a prediction that changes nothing.
func TestCompact(t *testing.T) {
	t.Parallel()
	path, keys := filled(t, 60)
	s, err := bolt.Open(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = s.Sweep(t.Context(), time.Now().Add(100*time.Hour), 10000); err != nil { // most of what is not an order
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := good(t, path, keys)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var plan bolt.CompactPlan
	planned := func(p bolt.CompactPlan) error {
		plan = p
		return nil
	}
	if _, err := bolt.Compact(t.Context(), path, bolt.CompactOptions{DryRun: true, Planned: planned}); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(file) {
		t.Errorf("a prediction changed the file: %v", err)
	}
	done, err := bolt.Compact(t.Context(), path, bolt.CompactOptions{Planned: planned})
	if err != nil {
		t.Fatal(err)
	}
	after := good(t, path, keys)
	if after.Records() != before.Records() || after.Pages.Size >= before.Pages.Size*3/4 || after.Pages.Free > after.Pages.Size/10 {
		t.Errorf("before %d records in %d bytes, after %d in %d, %d of them free", before.Records(), before.Pages.Size, after.Records(), after.Pages.Size, after.Pages.Free)
	}
	if plan.Records != before.Records() || plan.Pause <= 0 || plan.After < after.Pages.Size*7/10 || plan.After > after.Pages.Size*13/10 {
		t.Errorf("predicted %+v, came to %d bytes", plan, after.Pages.Size)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 2 || done.Size != before.Pages.Size {
		t.Errorf("left behind: %v %v %+v", left, err, done)
	}
	stop := errors.New("stop")
	if _, err := bolt.Compact(t.Context(), path, bolt.CompactOptions{Planned: func(bolt.CompactPlan) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("after a refusal: %v", err)
	}
}
