//go:build chaos && onethread

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soonEnough is how long a hub whose disk failed may live on.
const soonEnough = time.Second

// TestDiskFails lets the k-th call of the database fail, for k from 1 to 200, each
// in a run of its own over the real binary.
func TestDiskFails(t *testing.T) {
	var faults []diskFault
	for k := 1; k <= 200; k++ {
		for _, call := range []string{"pwrite64", "fdatasync"} {
			for _, e := range []string{"EIO", "ENOSPC"} {
				faults = append(faults, diskFault{call, e, k})
			}
		}
	}
	failDisk(t, append(faults, diskFault{"fsync", "EIO", 1}, diskFault{"fsync", "ENOSPC", 1}))
}

// TestDiskFailsShort is a sample of TestDiskFails.
func TestDiskFailsShort(t *testing.T) {
	var faults []diskFault
	for i, k := range []int{1, 2, 5, 17, 18, 19, 40, 71, 102, 103, 140, 165, 199, 200} {
		call, e := []string{"fdatasync", "pwrite64"}[i%2], []string{"EIO", "ENOSPC"}[i/2%2]
		faults = append(faults, diskFault{call, e, k})
	}
	failDisk(t, append(faults, diskFault{"fsync", "EIO", 1}))
}

// diskTally is what all runs came to.
type diskTally struct {
	mu                sync.Mutex
	runs, made, extra int
	failed, onDisk    map[string]int // commits by error
	slowest           time.Duration
	hit               map[string]map[int]bool // which call of its kind failed, by kind and error
	atStart           int
}

func failDisk(t *testing.T, faults []diskFault) {
	sum := &diskTally{failed: make(map[string]int), onDisk: make(map[string]int), hit: make(map[string]map[int]bool)}
	places := make(chan struct{}, 3)
	for part := range slices.Chunk(faults, 60) { // a town's sessions end after a while
		w := newTown(t, 50, 8)
		t.Run("run", func(t *testing.T) {
			for _, f := range part {
				t.Run(f.String(), func(t *testing.T) {
					t.Parallel()
					places <- struct{}{}
					defer func() { <-places }()
					w.failOnce(t, f, sum)
				})
			}
		})
	}
	if sum.runs != len(faults) {
		t.Errorf("%d of %d runs came to an end", sum.runs, len(faults))
	}
	sum.log(t)
}

// failOnce is one run: orders come in, the call fails, the hub ends; then it is
// started again without strace.
func (w *town) failOnce(t *testing.T, f diskFault, sum *diskTally) {
	data := w.copyTo(t, filepath.Join(t.TempDir(), "data"))
	h := startFailing(t, data, f)
	var made []promise
	base := h.address()
	if base != "" {
		made, _ = w.orderAll(base, 4)
	}
	select {
	case <-h.ended:
	case <-time.After(patience):
		t.Fatalf("the hub goes on; %d orders were made", len(made))
	}
	s := readTrace(t, tracePath(data), f)
	checkEnd(t, h, f, s, made)
	txid, problems := lastTransaction(t, data)
	if problems != nil {
		t.Errorf("the database is damaged: %v", problems)
	}
	if txid != w.txid+s.commits {
		t.Errorf("the last transaction is %d, want %d: %d commits after %d", txid, w.txid+s.commits, s.commits, w.txid)
	}
	again := startDev(t, data)
	there := w.checkKept(t, again, made)
	again.stop()
	sum.add(f, s, base == "", len(made), there)
}

// checkEnd looks at how the hub ended.
func checkEnd(t *testing.T, h *hub, f diskFault, s seen, made []promise) {
	t.Helper()
	if s.injected.IsZero() {
		t.Fatalf("no call failed: %d orders were made, the last was call %d", len(made), s.nth)
	}
	if s.until > soonEnough {
		t.Errorf("the hub lived on for %v", s.until)
	}
	if code := h.cmd.ProcessState.ExitCode(); code != exitDisk {
		t.Errorf("exit code %d, want %d", code, exitDisk)
	}
	last := lastWord(t, h.stderr.String())
	for _, want := range []string{"start the hub again", map[string]string{"EIO": "input/output error", "ENOSPC": "no space left on device"}[f.error]} {
		if !strings.Contains(last, want) {
			t.Errorf("it does not say %q: %s", want, last)
		}
	}
	for _, p := range made {
		if p.asked.After(s.injected) {
			t.Errorf("order %s was asked for after the failure and acknowledged", p.id)
		}
	}
}

func (d *diskTally) add(f diskFault, s seen, atStart bool, made, there int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs++
	d.made += made
	d.extra += there - made
	if f.call != "fsync" { // that one comes before a commit
		d.failed[f.error]++
	}
	if s.onDisk {
		d.onDisk[f.error]++
	}
	d.slowest = max(d.slowest, s.until)
	kind := f.call + " " + f.error
	if d.hit[kind] == nil {
		d.hit[kind] = make(map[int]bool)
	}
	d.hit[kind][s.nth] = true
	if atStart {
		d.atStart++
	}
}

func (d *diskTally) log(t *testing.T) {
	t.Logf("%d runs, %d of them ended before they were ready; %d orders acknowledged, all there; %d more there that nobody was told of", d.runs, d.atStart, d.made, d.extra)
	t.Logf("slowest end after the failing call: %v", d.slowest.Round(time.Millisecond/10))
	for _, e := range []string{"EIO", "ENOSPC"} {
		t.Logf("of %d commits that returned %s, %d were on disk afterwards", d.failed[e], e, d.onDisk[e])
	}
	for kind, hit := range d.hit {
		places := make([]int, 0, len(hit))
		for n := range hit {
			places = append(places, n)
		}
		slices.Sort(places)
		t.Logf("%s: %d different places, from the %d. to the %d. call", kind, len(places), places[0], places[len(places)-1])
	}
}

// TestDiskFailsWhileTheLogIsStuck: a hub that can't even say why it ends, ends.
func TestDiskFailsWhileTheLogIsStuck(t *testing.T) {
	w := newTown(t, 10, 4)
	data := w.copyTo(t, filepath.Join(t.TempDir(), "data"))
	f := diskFault{"fdatasync", "EIO", 40}
	cmd := failingCommand(t, data, f)
	h := &hub{t: t, cmd: cmd, data: data, stdout: newLines(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = h.stdout, fullPipe(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	go func() { _ = cmd.Wait(); close(h.ended) }()
	w.orderAll(h.address(), 4)
	select {
	case <-h.ended:
	case <-time.After(patience):
		t.Fatal("the hub goes on")
	}
	s := readTrace(t, tracePath(data), f)
	if code := cmd.ProcessState.ExitCode(); code != exitDisk || s.injected.IsZero() || s.until > soonEnough {
		t.Errorf("exit code %d after %v", code, s.until)
	}
}

// fullPipe is the end of a pipe that nobody reads.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	return w
}
