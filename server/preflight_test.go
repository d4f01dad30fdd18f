package server_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/seal"
)

// tree is every file of a folder with its content.
func (s *site) tree(dir string) map[string]string {
	s.Helper()
	files := make(map[string]string)
	s.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		files[path] = string(body)
		return err
	}))
	return files
}

func problems(p server.Preflight) string {
	var out []string
	for _, err := range p.Problems {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}

// TestPreflight: it finds what Open would fail on, all at once, and leaves every
// file as it is.
func TestPreflight(t *testing.T) {
	s := newSite(t)
	s.must(s.open().Close())
	s.cfg.KeyFile = filepath.Join(s.cfg.Data, "keys.json")
	write := func(body string, mode os.FileMode) string {
		path := filepath.Join(s.TempDir(), "file")
		s.must(os.WriteFile(path, []byte(body), mode))
		return path
	}
	otherKeys := filepath.Join(t.TempDir(), "other.json")
	s.must(seal.Create(otherKeys))
	for what, row := range map[string]struct {
		change func(*server.Config)
		wants  []string // none: there are no problems
	}{
		"good":             {func(*server.Config) {}, nil},
		"own keys":         {func(c *server.Config) { c.KeyFile = "" }, nil},
		"what Check finds": {func(c *server.Config) { c.GRPC, c.Sender = "x", nil }, []string{"--grpc is not HOST:PORT", "--sms-gateway"}},
		"port":             {func(c *server.Config) { c.HTTP = "127.0.0.1:99999" }, []string{"--http: there is no such port"}},
		"keys are none":    {func(c *server.Config) { c.KeyFile = write("{}", 0o600) }, []string{"version 1 key file"}},
		"keys are open":    {func(c *server.Config) { c.KeyFile = write("{}", 0o644) }, []string{"chmod 600"}},
		"other keys":       {func(c *server.Config) { c.KeyFile = otherKeys }, []string{"other keys"}},
		"trust domain":     {func(c *server.Config) { c.TrustDomain = "other.example" }, []string{"--trust-domain tongcha.local"}},
		"calendar":         {func(c *server.Config) { c.CalendarFile = write("2026-13-01 off x\n", 0o600) }, []string{"--calendar", "line 1"}},
		"certificate":      {func(c *server.Config) { c.HTTPCert, c.HTTPKey = otherKeys, otherKeys }, []string{"--http-cert"}},
		"trace's folder":   {func(c *server.Config) { c.Trace.Output = filepath.Join(s.TempDir(), "nowhere", "spans.json") }, []string{"--trace"}},
		"trace is one":     {func(c *server.Config) { c.Trace.Output = s.TempDir() }, []string{"--trace"}},
		"trace is kept":    {func(c *server.Config) { c.Trace.Output = write("", 0o600) }, nil},
		"trace is new":     {func(c *server.Config) { c.Trace.Output = filepath.Join(s.TempDir(), "spans.json") }, nil},
		"data is a file":   {func(c *server.Config) { c.Data = otherKeys }, []string{"is no folder"}},
		"data under one":   {func(c *server.Config) { c.Data = filepath.Join(otherKeys, "data") }, []string{"data folder"}},
		"all at once": {func(c *server.Config) {
			c.HTTP, c.CalendarFile, c.KeyFile = "127.0.0.1:99999", write("x", 0o600), otherKeys
		}, []string{"--http", "--calendar", "other keys"}},
	} {
		cfg := s.cfg
		row.change(&cfg)
		before := s.tree(s.cfg.Data)
		got := problems(cfg.Preflight())
		if after := s.tree(s.cfg.Data); !maps.Equal(before, after) {
			t.Errorf("%s: the folder was changed", what)
		}
		if (got == "") != (row.wants == nil) {
			t.Errorf("%s: %q", what, got)
		}
		for _, w := range row.wants {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not say %q", what, got, w)
			}
		}
		if h, err := server.Open(t.Context(), cfg); err == nil {
			_ = h.Close()
			if row.wants != nil && what != "port" && what != "certificate" { // Serve fails on those
				t.Errorf("%s: it was opened", what)
			}
		} else if row.wants == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPreflightBesideAHub: a hub that runs is not disturbed, and what it locks is
// said not to be checked.
func TestPreflightBesideAHub(t *testing.T) {
	s := newSite(t)
	fresh := s.cfg.Preflight()
	if len(fresh.Problems) > 0 || !strings.Contains(strings.Join(fresh.Notes, "\n"), "made at the first start") {
		t.Errorf("of a new folder: %+v", fresh)
	}
	if files := s.tree(s.cfg.Data); len(files) > 0 {
		t.Errorf("files were made: %v", files)
	}
	s.start()
	p := s.cfg.Preflight()
	if len(p.Problems) > 0 || !strings.Contains(strings.Join(p.Notes, "\n"), "a running hub has it open") {
		t.Errorf("beside a hub: %+v", p)
	}
	if code, _, err := get("http://" + s.at.HTTP + "/readyz"); code != 200 || err != nil {
		t.Errorf("/readyz: %d %v", code, err)
	}
}

// TestPreflightOlderDatabase: a database of an older layout is no problem, and the
// migration that a start begins with is told.
func TestPreflightOlderDatabase(t *testing.T) {
	s := newSite(t)
	s.must(s.open().Close())
	for from, to := range map[string]string{"v1.db": server.Database(s.cfg.Data), "v1.keys.json": server.KeyFile(s.cfg.Data)} {
		body, err := os.ReadFile(filepath.Join("store", "bolt", "testdata", from))
		s.must(err)
		s.must(os.WriteFile(to, body, 0o600))
	}
	s.cfg.KeyFile = server.KeyFile(s.cfg.Data)
	before := s.tree(s.cfg.Data)
	p := s.cfg.Preflight()
	if len(p.Problems) > 0 || !strings.Contains(strings.Join(p.Notes, "\n"), "layout 1; the first start migrates it to 2") {
		t.Errorf("problems %v, notes %q", p.Problems, p.Notes)
	}
	if after := s.tree(s.cfg.Data); !maps.Equal(before, after) {
		t.Error("the folder was changed")
	}
	s.must(s.open().Close())
	if again := s.cfg.Preflight(); strings.Contains(strings.Join(again.Notes, "\n"), "layout") {
		t.Errorf("after the start: %q", again.Notes)
	}
}
