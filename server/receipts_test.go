package server_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/receipt"
)

// TestReceiptKeys: they are made at the first start, published, and the same after
// a restart; a file that is damaged or that others can read stops the start.
func TestReceiptKeys(t *testing.T) {
	s := newSite(t)
	published := func() string {
		s.Helper()
		s.start()
		code, body, err := get("http://" + s.at.HTTP + "/.well-known/tongcha-receipt-keys.json")
		if err != nil || code != 200 {
			t.Fatalf("%d %v", code, err)
		}
		if code, _, err := get("http://" + s.at.Metrics + "/.well-known/tongcha-receipt-keys.json"); err != nil || code != 404 {
			t.Errorf("at the operator's door: %d %v", code, err)
		}
		s.stop()
		s.ended()
		return body
	}
	first := published()
	keys, err := receipt.ParseKeySet([]byte(first))
	if err != nil || len(keys.IDs()) != 1 || strings.Contains(first, `"d"`) {
		t.Fatalf("%s %v", first, err)
	}
	if again := published(); again != first {
		t.Errorf("other keys after a restart: %s, %s", first, again)
	}
	if n := strings.Count(s.logs.String(), "receipt key made"); n != 1 || !strings.Contains(s.logs.String(), keys.IDs()[0]) {
		t.Errorf("told of %d times", n)
	}
	path := filepath.Join(s.cfg.Data, receipt.KeyFile)
	good, err := os.ReadFile(path)
	s.must(err)
	for what, c := range map[string]struct {
		body string
		mode os.FileMode
		says string
	}{
		"cut":                {string(good[:len(good)/2]), 0o600, "restore it from a backup"},
		"empty":              {"", 0o600, "restore it from a backup"},
		"newer":              {strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), 0o600, "a newer one"},
		"readable by others": {string(good), 0o644, "chmod 600"},
	} {
		s.must(os.WriteFile(path, []byte(c.body), 0o600))
		s.must(os.Chmod(path, c.mode))
		_, err := server.Open(context.Background(), s.cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if p := problems(s.cfg.Preflight()); !strings.Contains(p, c.says) {
			t.Errorf("%s: validate says %q", what, p)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != c.body {
			t.Errorf("%s: the file was changed: %v", what, err)
		}
	}
	s.must(os.WriteFile(path, good, 0o600))
	s.must(os.Chmod(path, 0o600))
	if again := published(); again != first {
		t.Error("the file was put back and the keys are others")
	}
}
