//go:build chaos && onethread

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// diskFault is one failure of the disk: the k-th call of a kind fails. strace counts
// each thread's calls on their own; those of the database are of the thread that
// opens it and, afterwards, of the committer's, which the tag onethread pins.
type diskFault struct {
	call  string // pwrite64, fdatasync or fsync
	error string // EIO or ENOSPC
	k     int
}

func (f diskFault) String() string { return fmt.Sprintf("%s/%s/%d", f.call, f.error, f.k) }

// failingCommand is `tongcha dev` under strace, which lets one call on the
// database's file fail. Where strace may not trace, the test fails: a promise that
// can't be tested here isn't kept here.
func failingCommand(t *testing.T, data string, f diskFault) *exec.Cmd {
	t.Helper()
	trace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed: apt-get install strace")
	}
	cmd := command(t, "dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
	cmd.Args = append([]string{
		"strace", "-f", "--seccomp-bpf", "-q", "-ttt", "-s", "0", "-e", "signal=none", "-o", tracePath(data),
		"-P", filepath.Join(data, "hub", "tongcha.db"), "-e", "trace=pwrite64,fdatasync,fsync",
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", f.call, f.error, f.k), cmd.Path,
	}, cmd.Args[1:]...)
	cmd.Path = trace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the hub outlives a strace that is killed
	return cmd
}

// startFailing starts it; the test's end ends the hub too.
func startFailing(t *testing.T, data string, f diskFault) *hub {
	t.Helper()
	cmd := failingCommand(t, data, f)
	h := launch(t, cmd, data)
	h.expected = `"` // the failing commit's lines are what the test provokes
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return h
}

func tracePath(data string) string { return data + ".strace" }

// seen is what strace saw.
type seen struct {
	injected time.Time     // zero where nothing failed
	until    time.Duration // from there to the end of the process
	nth      int           // which call of its kind on the file failed, all threads counted
	commits  int           // meta pages that were written whole
	onDisk   bool          // the failing commit's meta page was written before
}

var (
	traceLine = regexp.MustCompile(`^\d+ +(\d+)\.(\d{6}) (.*)$`)
	metaPage  = regexp.MustCompile(`^pwrite64\(.*, 4096, (?:0|4096)\) += 4096$`)
)

// readTrace reads the log of strace. Calls that another thread's line cut in two
// are counted where they begin.
func readTrace(t *testing.T, path string, f diskFault) seen {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var s seen
	lastMeta := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		m := traceLine.FindStringSubmatch(lines.Text())
		if m == nil {
			t.Fatalf("strace said: %s", lines.Text())
		}
		at, what := traceTime(t, m[1], m[2]), m[3]
		name, _, isCall := strings.Cut(what, "(")
		if !isCall {
			if strings.HasPrefix(what, "+++ exited") && !s.injected.IsZero() {
				s.until = at.Sub(s.injected)
			}
			continue
		}
		if s.injected.IsZero() && name == f.call {
			s.nth++
		}
		switch {
		case strings.Contains(what, "(INJECTED)"):
			s.injected, s.onDisk = at, lastMeta
		case metaPage.MatchString(what):
			s.commits++
			lastMeta = true
		case name == "pwrite64":
			lastMeta = false
		}
	}
	return s
}

func traceTime(t *testing.T, seconds, micros string) time.Time {
	t.Helper()
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	us, err := strconv.ParseInt(micros, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(sec, us*1000)
}
