package server_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
)

// fillDisk lets every further write to the hub's database fail as on a full disk:
// behind the open file there is /dev/full from now on.
func (s *site) fillDisk() {
	s.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	s.must(err)
	defer func() { _ = full.Close() }()
	open, err := os.ReadDir("/proc/self/fd")
	s.must(err)
	for _, e := range open {
		path, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || path != filepath.Join(s.cfg.Data, "tongcha.db") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		s.must(err)
		s.must(syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC))
		return
	}
	s.Fatal("the database is not open")
}

// broke wants Serve to have ended by itself and to say why and what to do.
func (s *site) broke() {
	s.Helper()
	select {
	case <-s.done:
	case <-time.After(within):
		s.Fatal("a hub that can't write goes on")
	}
	var disk *server.DiskError
	if !errors.As(s.err, &disk) || !disk.Unknown || !errors.Is(s.err, syscall.ENOSPC) || !strings.Contains(s.err.Error(), s.cfg.Data+" is full: make room") {
		s.Errorf("it ended with %v", s.err)
	}
}

// storeFailed wants an answer that says nothing was accepted.
func (s *site) storeFailed(method, path, token string, body any) {
	s.Helper()
	code, got, err := do(method, "http://"+s.at.HTTP+path, token, body)
	if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(got, `"STORE_FAILED"`) {
		s.Errorf("%s %s: %d %s %v", method, path, code, got, err)
	}
}

// TestFailedCommitEndsTheHub: Serve returns at once, and as long as the process
// lives nobody is told anything but that it failed, readers included.
func TestFailedCommitEndsTheHub(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	s := newSite(t)
	s.start()
	token := s.session()
	s.fillDisk()
	s.storeFailed("POST", "/v1/lookups", token, map[string]string{})
	s.broke()
	s.storeFailed("POST", "/v1/lookups", token, map[string]string{})
	s.storeFailed("GET", "/v1/unbinds", token, nil)
}

// TestFailedCommitCutsAStopShort: a stop takes its time, a broken store has none.
func TestFailedCommitCutsAStopShort(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	s := newSite(t, func(c *server.Config) { c.ShutdownDelay = time.Hour })
	s.start()
	token := s.session()
	s.stop()
	s.fillDisk()
	s.storeFailed("POST", "/v1/lookups", token, map[string]string{})
	s.broke()
}

// TestFullDisk: below MinFree new work is refused and reads go on; the figure and
// the finding tell.
func TestFullDisk(t *testing.T) {
	s := newSite(t, func(c *server.Config) { c.MinFree = 1 << 60 })
	s.start()
	code, got, err := do("POST", "http://"+s.at.HTTP+"/v1/verifications", "", map[string]any{
		"phoneNumber": number, "idSuffix": suffix, "consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP", "UNBIND"}},
	})
	if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(got, `"STORAGE_FULL"`) {
		t.Errorf("%d %s %v", code, got, err)
	}
	if code, _, err := get("http://" + s.at.HTTP + "/v1/platforms"); code != 200 || err != nil {
		t.Errorf("a read: %d %v", code, err)
	}
	s.figures(`tongcha_storage_full 1`, `tongcha_admission_rejected_total{cause="storage",kind="verification"} 1`)
	status, err := s.hub.Status(t.Context())
	s.must(err)
	if len(status.Findings) == 0 || status.Findings[0].Code != "STORAGE_FULL" {
		t.Errorf("%+v", status.Findings)
	}
}
