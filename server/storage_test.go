package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// TestStorage: new work is refused below the need, taken again only when an eighth
// more is free, and a log line tells of each change, not of each refusal.
func TestStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var free int64
		asked := 0
		s := &storage{need: 800, free: func() int64 { asked++; return free }, log: slog.New(slog.NewTextHandler(&log, nil))}
		for i, step := range []struct {
			free int64
			want bool
		}{{800, false}, {799, true}, {800, true}, {899, true}, {900, false}, {800, false}, {0, true}, {-1, false}} {
			free = step.free
			time.Sleep(statEvery)
			for range 3 {
				if got := s.full(); got != step.want {
					t.Errorf("step %d, %d free: %v", i, step.free, got)
				}
			}
		}
		if asked != 8 {
			t.Errorf("the file system was asked %d times", asked)
		}
		if refused, again := strings.Count(log.String(), "storage full"), strings.Count(log.String(), "has room again"); refused != 2 || again != 2 {
			t.Errorf("the log:\n%s", &log)
		}
	})
}

// TestStorageWithoutNeed never refuses.
func TestStorageWithoutNeed(t *testing.T) {
	s := &storage{free: func() int64 { return 0 }}
	if s.full() {
		t.Error("refused")
	}
}

// TestDiskErrors: whatever the disk said, the error says what to do about it.
func TestDiskErrors(t *testing.T) {
	h := &Hub{cfg: Config{Data: t.TempDir()}}
	for name, c := range map[string]struct {
		err  error
		want string // "" for none of the disk
	}{
		"full":      {fmt.Errorf("open: %w", syscall.ENOSPC), "is full: make room"},
		"quota":     {syscall.EDQUOT, "is full: make room"},
		"broken":    {syscall.EIO, "look for errors of the disk"},
		"read only": {syscall.EROFS, "look for errors of the disk"},
		"no number": {fault.StoreFailed.Wrap(errors.New("file resize error")), "look for errors of the disk"},
		"other":     {errors.New("sealed with other keys"), ""},
	} {
		err := h.OfDisk(c.err)
		var disk *DiskError
		if got := errors.As(err, &disk); got != (c.want != "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if disk != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), h.cfg.Data) || disk.Unknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
