package admin_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/admin"
)

func TestSocketIsPrivate(t *testing.T) {
	d := newDesk(t)
	info, err := os.Stat(d.path)
	d.must(err)
	if info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSocketOfADeepFolder(t *testing.T) {
	d := newDesk(t, func(d *desk) {
		dir := filepath.Join(d.TempDir(), strings.Repeat("a", 100), strings.Repeat("b", 100))
		d.must(os.MkdirAll(dir, 0o700))
		d.path = filepath.Join(dir, "admin.sock")
	})
	_, err := d.ListPlatforms(t.Context(), &adminv1.ListPlatformsRequest{})
	d.must(err)
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false) // as a crash leaves it
	_ = old.Close()
	for range 2 {
		l, err := admin.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := admin.Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	}
}

func TestSocketsThatCannotBeOpened(t *testing.T) {
	for what, dir := range map[string]string{"no folder": filepath.Join(t.TempDir(), "none"), "no deep folder": filepath.Join(t.TempDir(), strings.Repeat("a", 200))} {
		path := filepath.Join(dir, "admin.sock")
		if l, err := admin.Listen(path); err == nil {
			_ = l.Close()
			t.Errorf("%s: it was opened", what)
		} else if !strings.HasPrefix(err.Error(), "admin: ") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := admin.Dial(t.Context(), path); err == nil {
			t.Errorf("%s: it was dialled", what)
		}
	}
	folder := filepath.Join(t.TempDir(), "admin.sock")
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(folder); err == nil || !strings.Contains(err.Error(), "remove old socket") {
		t.Errorf("a folder in its place: %v", err)
	}
}
