//go:build chaos

package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onSmallDisk copies the town to a folder whose database lies on a file system of
// mib MiB of its own. The simulated platforms' files lie beside it: their disk does
// not fill.
func (w *town) onSmallDisk(t *testing.T, mib int) (data string) {
	t.Helper()
	data = w.copyTo(t, filepath.Join(t.TempDir(), "data"))
	disk, old := filepath.Join(data, "hub"), filepath.Join(data, "hub.old")
	if err := errors.Join(os.MkdirAll(disk, 0o700), os.Rename(disk, old), os.Mkdir(disk, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(mib)+"m"); err != nil {
		t.Fatalf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	if out, err := exec.Command("cp", "-a", "--sparse=always", old+"/.", disk).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
	return data
}

// freeAt is what is free where the database lies, in bytes.
func freeAt(t *testing.T, data string) int64 {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Join(data, "hub"), &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}

// takeRoom puts a file on the small disk that leaves so many bytes free.
func takeRoom(t *testing.T, data string, leave int64) (ballast string) {
	t.Helper()
	ballast = filepath.Join(data, "hub", "ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := make([]byte, 4096); freeAt(t, data) > leave; {
		if _, err := f.Write(page); err != nil {
			t.Fatal(err)
		}
	}
	return ballast
}

// TestFullDiskRefuses: while the disk fills, new work is refused before anything
// fails; what was accepted comes to its end, on a disk without one free byte too;
// with room again the hub goes on by itself.
func TestFullDiskRefuses(t *testing.T) {
	const minFree = 8 << 20
	w := newTown(t, 60, 20)
	data := w.onSmallDisk(t, 48)
	h := startDev(t, data, "--min-free", "8")
	h.expected = "storage full"
	ballast := takeRoom(t, data, minFree+2<<20)
	h.cli("platform", "suspend", "shop-19", "--reason", "test").must(t)
	var made []promise
	var refused []error
	ordered := make(chan struct{})
	go func() {
		defer close(ordered)
		made, refused = w.orderAll(h.base, 4)
	}()
	for leave := int64(minFree + 2<<20); leave >= minFree-1<<20; leave -= 128 << 10 {
		takeRoom(t, data, leave) // somebody else's log grows beside the orders
		<-time.After(20 * time.Millisecond)
	}
	<-ordered
	for _, err := range refused {
		if !errors.Is(err, refusal{503, "STORAGE_FULL"}) {
			t.Errorf("refused with %v", err)
		}
	}
	if len(refused) != 4 || len(made) == 0 {
		t.Errorf("%d orders made, %d bytes free, refused %v", len(made), freeAt(t, data), refused)
	}
	if _, err := w.order(h.base, 0, w.platforms[0]); !errors.Is(err, refusal{503, "STORAGE_FULL"}) {
		t.Errorf("an order: %v", err)
	}
	t.Logf("refused after %d orders, %d KiB free of the %d that must be; the database has %d KiB", len(made), freeAt(t, data)>>10, minFree>>10, sizeOf(t, filepath.Join(data, "hub", "tongcha.db"))>>10)
	p := person{hub: h, number: w.people[0].number, suffix: townSuffix, token: w.people[0].token}
	for _, r := range []reply{p.post("/v1/lookups", map[string]any{}), h.do("POST", "/v1/verifications", "", p.request())} {
		wantError(t, r, http.StatusServiceUnavailable, "STORAGE_FULL")
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	if status := h.cli("status", "-o", "json"); status.code != exitFailure || !strings.Contains(status.stdout, `"STORAGE_FULL"`) {
		t.Errorf("status: exit code %d %s", status.code, status.stdout)
	}
	takeRoom(t, data, 0)
	h.cli("platform", "resume", "shop-19").must(t)
	w.checkKept(t, h, made)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more, refused := w.orderAll(h.base, 4)
	if len(refused) > 0 || len(more) != len(w.people)*len(w.platforms) {
		t.Errorf("with room again %d orders were made, refused %v", len(more), refused)
	}
	w.checkKept(t, h, append(more, made...))
	h.stop()
}

// TestDiskFullInACommit: where nothing was refused in time and nothing could be
// taken ahead, a commit meets the full disk. The hub ends and says why; nothing
// that was acknowledged is lost.
func TestDiskFullInACommit(t *testing.T) {
	w := newTown(t, 50, 8)
	data := w.onSmallDisk(t, 24)
	takeRoom(t, data, 400<<10)
	h := startDev(t, data, "--min-free", "0")
	h.expected = `"` // the failing commit's lines are what the test provokes
	made, _ := w.orderAll(h.base, 4)
	select {
	case <-h.ended:
	case <-time.After(patience):
		t.Fatalf("the hub goes on with %d bytes free; %d orders were made", freeAt(t, data), len(made))
	}
	checkFull(t, "the hub", h.cmd.ProcessState.ExitCode(), h.stderr.String(), data)
	ballast := takeRoom(t, data, 0)
	for range 2 { // what a start writes mostly finds room within the file
		w.startFull(t, data)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	again := startDev(t, data)
	there := w.checkKept(t, again, made)
	again.stop()
	if _, problems := lastTransaction(t, data); problems != nil {
		t.Errorf("the database is damaged: %v", problems)
	}
	t.Logf("%d orders acknowledged before the commit failed, all there; %d there in all", len(made), there)
}

// startFull starts a hub on a full disk: it comes up and refuses new work, or ends
// and says why.
func (w *town) startFull(t *testing.T, data string) {
	t.Helper()
	h := launch(t, command(t, "dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"), data)
	h.expected = `"`
	if base := h.address(); base != "" {
		if _, err := w.order(base, 0, w.platforms[0]); !errors.Is(err, refusal{503, "STORAGE_FULL"}) {
			t.Errorf("an order on the full disk: %v", err)
		}
		t.Log("a hub starts on the full disk, and refuses new work")
		h.stop()
		return
	}
	checkFull(t, "a start on the full disk", h.cmd.ProcessState.ExitCode(), h.stderr.String(), data)
}

// TestFirstStartOnAFullDisk: however far a first start comes, it says that the disk
// is full, or refuses new work, and leaves nothing that keeps the next one out.
func TestFirstStartOnAFullDisk(t *testing.T) {
	for _, leave := range []int64{0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128} {
		t.Run(strconv.FormatInt(leave, 10)+" KiB", func(t *testing.T) {
			data := (&town{data: t.TempDir()}).onSmallDisk(t, 1)
			ballast := takeRoom(t, data, leave<<10)
			h := launch(t, command(t, "dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"), data)
			h.expected = "storage full"
			if h.base = h.address(); h.base != "" {
				p := person{hub: h, number: demoNumber, suffix: demoSuffix}
				wantError(t, h.do("POST", "/v1/verifications", "", p.request()), http.StatusServiceUnavailable, "STORAGE_FULL")
				h.stop()
			} else {
				checkFull(t, "the first start", h.cmd.ProcessState.ExitCode(), h.stderr.String(), data)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			startDev(t, data, "--min-free", "0").stop()
		})
	}
}

// checkFull wants the hub to say which file system is full, and what to do.
func checkFull(t *testing.T, who string, code int, stderr, data string) {
	t.Helper()
	last := lastWord(t, stderr)
	for _, want := range []string{"no space left on device", "the file system of " + filepath.Join(data, "hub") + " is full: make room", "start the hub again"} {
		if !strings.Contains(last, want) {
			t.Errorf("%s lacks %q: %s", who, want, last)
		}
	}
	if code != exitDisk {
		t.Errorf("%s: exit code %d, want %d", who, code, exitDisk)
	}
}

// TestOrdersFillTheDisk: orders alone take the room that is left, until they are
// refused.
func TestOrdersFillTheDisk(t *testing.T) {
	w := newTown(t, 400, 20)
	data := w.onSmallDisk(t, 40)
	h := startDev(t, data, "--min-free", "8")
	h.expected = "storage full"
	takeRoom(t, data, 8<<20+128<<10)
	made, refused := w.orderAll(h.base, 8)
	if len(refused) != 8 || !errors.Is(refused[0], refusal{503, "STORAGE_FULL"}) {
		t.Errorf("%d orders made, %d bytes free, refused %v", len(made), freeAt(t, data), refused)
	}
	t.Logf("refused after %d orders; the database has %d KiB", len(made), sizeOf(t, filepath.Join(data, "hub", "tongcha.db"))>>10)
	w.checkKept(t, h, made)
	h.stop()
}
