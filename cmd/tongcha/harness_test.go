package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests run the binary as processes of their own: the test binary started
// again with this variable is the command. Under -race so are the processes.
const asCommand = "TEST_AS_TONGCHA"

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run())
	}
	flag.Parse()
	manyAtOnce()
	os.Exit(m.Run())
}

// manyAtOnce lets more tests run side by side than there are cores, unless
// -parallel was given: most of their time they wait for a platform's answer.
func manyAtOnce() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "12")
	}
}

// command prepares the binary with a clean environment.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TONGCHA_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, asCommand+"=1")
	return cmd
}

// result is what a command that has ended left.
type result struct {
	code           int
	stdout, stderr string
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args[1:], err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// tongcha runs the binary to its end.
func tongcha(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, command(t, args...))
}

// must fails the test unless the command did what it was asked.
func (r result) must(t *testing.T) result {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit code %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
	}
	return r
}

// decode reads JSON into a T and fails on anything else.
func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("not the JSON wanted: %v\n%s", err, body)
	}
	return v
}

// lines is what a process prints, line by line.
type lines struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next change
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

// String is all of it.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// mark is the place after what was printed so far.
func (l *lines) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.text)
}

// more is closed when more is printed.
func (l *lines) more() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// find returns the groups of the first whole line after from that matches.
func (l *lines) find(from int, re *regexp.Regexp) ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := l.text[from : bytes.LastIndexByte(l.text, '\n')+1]
	for line := range strings.Lines(string(whole)) {
		if m := re.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			return m, l.changed
		}
	}
	return nil, l.changed
}

// await waits for a line; nil when ctx ends first.
func (l *lines) await(ctx context.Context, from int, pattern string) []string {
	re := regexp.MustCompile(pattern)
	for {
		m, changed := l.find(from, re)
		if m != nil {
			return m
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// hub is a running `tongcha dev` or `tongcha serve`.
type hub struct {
	t           *testing.T
	cmd         *exec.Cmd
	stdout      *lines
	stderr      *lines
	data        string
	base        string // http://HOST:PORT
	grpcAddress string
	ended       chan struct{}
	began       time.Time
	expected    string // part of the error lines that the test provokes
}

// launch starts the binary in the background; the test's end kills it.
func launch(t *testing.T, cmd *exec.Cmd, data string) *hub {
	t.Helper()
	h := &hub{t: t, cmd: cmd, data: data, stdout: newLines(), stderr: newLines(), ended: make(chan struct{}), began: time.Now()}
	cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(h.ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-h.ended
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", h.stdout, h.stderr)
		}
		h.checkErrors()
	})
	return h
}

// checkErrors looks for what must never be on standard error.
func (h *hub) checkErrors() {
	for line := range strings.Lines(h.stderr.String()) {
		for _, bad := range []string{"DATA RACE", "panic:", `"level":"ERROR"`} {
			if strings.Contains(line, bad) && (h.expected == "" || !strings.Contains(line, h.expected)) {
				h.t.Errorf("on standard error: %s", line)
			}
		}
	}
}

// startDev starts `tongcha dev` on free ports and waits until it is ready.
func startDev(t *testing.T, data string, args ...string) *hub {
	t.Helper()
	all := append([]string{"dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"}, args...)
	h := launch(t, command(t, all...), data)
	h.base = h.line(0, `^  REST     (http://\S+)`)[1]
	h.grpcAddress = h.line(0, `^  gRPC     (\S+)`)[1]
	return h
}

// line waits for a line on standard output.
func (h *hub) line(from int, pattern string) []string {
	h.t.Helper()
	return h.wait(h.stdout, from, pattern)
}

func (h *hub) wait(l *lines, from int, pattern string) []string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-h.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	m := l.await(ctx, from, pattern)
	if m == nil {
		h.t.Fatalf("no line %s", pattern)
	}
	return m
}

// kill ends the process without warning.
func (h *hub) kill() {
	h.t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	<-h.ended
}

// stop asks the process to end and wants exit code 0.
func (h *hub) stop() {
	h.t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.t.Fatal("still runs after SIGTERM")
	}
	if code := h.cmd.ProcessState.ExitCode(); code != 0 {
		h.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// cli runs a command of the operator's at this hub.
func (h *hub) cli(args ...string) result {
	h.t.Helper()
	return tongcha(h.t, append(args, "--data", h.data)...)
}

// write makes a file in a folder of its own.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
