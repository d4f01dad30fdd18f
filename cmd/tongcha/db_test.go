package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server"
)

// TestDBJourney: a backup of a running hub, checked, restored after more has
// happened, and compacted; the hub goes on from each.
func TestDBJourney(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	p := h.verified(demoNumber, demoSuffix)
	l := p.lookUpAnswered("sim-sync", "sim-flapping")
	orders := p.order(l.LookupID, "db", "sim-sync", "sim-flapping")
	backup := filepath.Join(t.TempDir(), "backup.db")
	b := decode[backupView](t, []byte(h.cli("db", "backup", "--out", backup, "-o", "json").must(t).stdout))
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 || info.Size() != b.Bytes || !b.SecretsOpened || b.Records == 0 || len(b.SHA256) != 64 {
		t.Errorf("%+v %v", b, err)
	}
	if r := h.cli("db", "backup", "--out", backup); r.code != exitUsage || !strings.Contains(r.stderr, "--force") {
		t.Errorf("over another: %d %s", r.code, r.stderr)
	}
	h.cli("db", "backup", "--out", backup, "--force").must(t)
	for _, own := range []string{"tongcha.db", "keys.json"} { // which nothing gives back
		if r := h.cli("db", "backup", "--out", filepath.Join(data, "hub", own), "--force"); r.code != exitUsage || !strings.Contains(r.stderr, "another --out") {
			t.Errorf("over %s: %d %s", own, r.code, r.stderr)
		}
	}
	if r := h.cli("db", "check"); r.code != 0 || !strings.Contains(r.stdout, "all is well") {
		t.Errorf("check of a running hub: %d %s%s", r.code, r.stdout, r.stderr)
	}
	columns(t, strings.SplitN(h.cli("db", "check", backup).must(t).stdout, "\n\n", 2)[0])
	columns(t, strings.SplitN(h.cli("db", "stats").must(t).stdout, "\n\n", 2)[0])
	for _, args := range [][]string{{"restore", backup, "--yes"}, {"compact"}} {
		if r := h.cli(append([]string{"db"}, args...)...); r.code != exitUnreachable || !strings.Contains(r.stderr, "stop the hub") {
			t.Errorf("%v beside a running hub: %d %s", args, r.code, r.stderr)
		}
	}
	for _, o := range orders {
		p.awaitOrder(o.UnbindID, soon(), "UNBIND_STATE_COMPLETED")
	}
	h.stop()
	if r := h.cli("db", "restore", backup); r.code != exitUsage || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("without --yes: %d %s", r.code, r.stderr)
	}
	dry := decode[restoreView](t, []byte(h.cli("db", "restore", backup, "--dry-run", "-o", "json").must(t).stdout))
	got := decode[restoreView](t, []byte(h.cli("db", "restore", backup, "--yes", "-o", "json").must(t).stdout))
	if !dry.DryRun || dry.Open != got.Open || got.Voided == 0 || !got.PresentRead || got.Lost != 0 {
		t.Errorf("foresaw %+v, did %+v", dry, got)
	}
	if _, err := os.Stat(got.Kept); err != nil {
		t.Error(err)
	}
	h.cli("db", "compact", "--dry-run").must(t)
	h.cli("db", "compact").must(t)
	h.cli("db", "check").must(t)

	h = startDev(t, data)
	if r := p.at(h).get("/v1/unbinds"); r.status != 401 {
		t.Errorf("a session of before the restore: %d", r.status)
	}
	p = h.verified(demoNumber, demoSuffix)
	wanted := make(map[string]int)
	for platform, o := range orders { // sent again, under the same ids, with one effect
		p.awaitOrder(o.UnbindID, time.Now().Add(patience), "UNBIND_STATE_COMPLETED")
		wanted[o.UnbindID+" at "+platform] = 1
	}
	if got := effects(t, data); len(got) != len(wanted) {
		t.Errorf("effects %v, want %v", got, wanted)
	}
	h.stop()
}

// TestDBCheckCodes: what is wrong, what is missing, and what can't be told have
// exit codes of their own, and say what to do.
func TestDBCheckCodes(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	h.stop()
	path := server.Database(filepath.Join(data, "hub"))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	for at := 2 * 4096; at+4096 <= len(damaged) && at < 64*4096; at += 4096 {
		damaged[at+16] ^= 0xff
		damaged[at+24] ^= 0xff
	}
	named := filepath.Join(t.TempDir(), "named.db")
	if err := os.WriteFile(named, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	addBucket(t, named, "\x1b]0;owned\a\x1b[2J\u202e\u009b")
	headless := append([]byte(nil), whole...)
	headless[4], headless[4096+4] = 'x', 'x'
	other := filepath.Join(t.TempDir(), "keys.json")
	tongcha(t, "keys", "new", other).must(t)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"good":           {[]string{"check", "--data", data}, 0, "all is well"},
		"without keys":   {[]string{"check", path, "--without-keys"}, 0, "no secret"},
		"no keys":        {[]string{"check", path}, exitUsage, "--without-keys"},
		"other keys":     {[]string{"check", path, "--keys", other}, exitFailure, "other keys"},
		"no key file":    {[]string{"check", path, "--keys", "nowhere"}, exitUsage, "--keys"},
		"damaged":        {[]string{"check", write(t, "x.db", string(damaged)), "--without-keys"}, exitFailure, "tongcha db restore"},
		"cut":            {[]string{"check", write(t, "x.db", string(whole[:3*4096])), "--without-keys"}, exitFailure, "cut off"},
		"no database":    {[]string{"check", write(t, "x.db", "no"), "--without-keys"}, exitFailure, "no database"},
		"no file":        {[]string{"check", "nowhere", "--without-keys"}, exitUsage, "--data"},
		"no hub":         {[]string{"backup", "--out", "x"}, exitUsage, "--data"},
		"no out":         {[]string{"backup"}, exitUsage, "--out"},
		"no folder":      {[]string{"backup", "--data", data, "--out", "nowhere/x"}, exitUsage, "there is no folder nowhere"},
		"no backup":      {[]string{"restore", "nowhere"}, exitUsage, "nowhere"},
		"nothing":        {[]string{"compact"}, exitUsage, "--data"},
		"stats of file":  {[]string{"stats", path}, 0, "compaction pays: no"},
		"check of names": {[]string{"check", named, "--without-keys"}, exitFailure, "\ufffd[2J"},
		"stats of names": {[]string{"stats", named}, 0, "\ufffd[2J"},
		"stats damaged":  {[]string{"stats", write(t, "x.db", string(damaged))}, exitFailure, "db check"},
		"one head":       {[]string{"check", write(t, "x.db", string(headless)), "--without-keys"}, exitFailure, "what could be read of a damaged file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tongcha(t, append([]string{"db"}, c.args...)...)
			if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", r.code, c.code, c.says, r.stdout, r.stderr)
			}
			if strings.ContainsAny(r.stdout+r.stderr, "\x1b\a\u202e\u009b") {
				t.Errorf("the terminal gets commands: %q", r.stdout+r.stderr)
			}
		})
	}
}

// addBucket adds a bucket to a file: its name is the one text of a file of unknown
// origin that commands print.
func addBucket(t *testing.T, path, name string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte(name))
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestProgressText: share, rate and rest.
func TestProgressText(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"copied: 25 %, 2 MiB/s, 15s left": progressText("copied", 10<<20, 40<<20, 5*time.Second),
		"records: 100 %, 500/s, 0s left":  progressText("records", 1000, 1000, 2*time.Second),
		"pages: 0 %":                      progressText("pages", 0, 0, 0),
		"[############............]":      bar(1, 2),
		"[########################]":      bar(3, 2),
		"[........................]":      bar(0, 0),
		"copied: 100 %, 1 MiB/s, 0s left": progressText("copied", 2<<20, 1<<20, 2*time.Second),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
