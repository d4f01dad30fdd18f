//go:build transcript

package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// coldBuild is how long `go run` may take to build on a machine that never has.
const coldBuild = 6 * time.Minute

var (
	startsDev = regexp.MustCompile(`^go run \./cmd/tongcha dev\b`)
	typesCode = regexp.MustCompile(`^(\w+)=123456$`)
	printed   = regexp.MustCompile(`(?m)^SMS to \S+ \D*(\d{6})\D.*\n`)
)

// TestReadmeTranscript does what README.md says, command by command, in a copy
// of the checkout, and compares what is printed.
func TestReadmeTranscript(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := transcript(string(readme))
	if err != nil {
		t.Fatal(err)
	}
	dir := copyCheckout(t)
	var one *terminal // the first terminal, where dev runs
	two := openTerminal(t, dir)
	codes := 0 // how many were typed
	for _, s := range steps {
		var got string
		var ok bool
		switch {
		case startsDev.MatchString(s.command):
			if one != nil {
				t.Fatalf("README.md line %d: a second dev", s.line)
			}
			one = openTerminal(t, dir)
			one.enter("exec " + s.command)
			got, ok = one.shows(s.want)
		case typesCode.MatchString(s.command):
			codes++
			code := newestCode(t, one, codes)
			got, ok = two.run(typesCode.ReplaceAllString(s.command, "${1}="+code), s.want)
		default:
			got, ok = two.run(s.command, s.want)
		}
		if !ok {
			t.Fatalf("README.md line %d: %s\nwant:\n%s\ngot:\n%s\nand on standard error:\n%s", s.line, s.command, strings.Join(s.want, "\n"), got, two.stderr)
		}
	}
	if one == nil {
		t.Error("README.md starts no dev")
	}
}

// copyCheckout copies the working tree, so that nothing is left behind in it.
func copyCheckout(t *testing.T) string {
	t.Helper()
	root, dir := filepath.Join("..", ".."), t.TempDir()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".tongcha" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, body, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// terminal is a shell that is typed into.
type terminal struct {
	t              *testing.T
	stdin          io.Writer
	stdout, stderr *lines
	ended          chan struct{}
	commands       int
}

// openTerminal starts a shell; the test's end stops it and what runs in it.
func openTerminal(t *testing.T, dir string) *terminal {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TONGCHA_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	term := &terminal{t: t, stdout: newLines(), stderr: newLines(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = term.stdout, term.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	term.stdin = stdin
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(term.ended) }()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-term.ended:
		case <-time.After(patience):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Error("the terminal did not close")
		}
	})
	return term
}

func (term *terminal) enter(command string) {
	term.t.Helper()
	if _, err := io.WriteString(term.stdin, command+"\n"); err != nil {
		term.t.Fatal(err)
	}
}

// run types a command, waits for its end, which must be a good one, and says
// whether it printed what was wanted.
func (term *terminal) run(command string, want []string) (string, bool) {
	term.t.Helper()
	term.commands++
	from := term.stdout.mark()
	end := fmt.Sprintf("--- end of command %d:", term.commands)
	term.enter(fmt.Sprintf("%s\nprintf '\\n%s %%d\\n' $?", command, end))
	ctx, cancel := context.WithTimeout(context.Background(), coldBuild)
	defer cancel()
	m := term.stdout.await(ctx, from, "^"+regexp.QuoteMeta(end)+` (\d+)$`)
	all := term.stdout.String()[from:]
	got, _, _ := strings.Cut(all, "\n"+end)
	return got, m != nil && m[1] == "0" && matches(want, got)
}

// shows waits until what was printed so far is what is wanted.
func (term *terminal) shows(want []string) (string, bool) {
	limit := time.After(coldBuild)
	for {
		changed := term.stdout.more()
		if got := term.stdout.String(); strings.HasSuffix(got, "\n") && matches(want, got) {
			return got, true
		}
		select {
		case <-changed:
		case <-term.ended:
			return term.stdout.String() + term.stderr.String(), false
		case <-limit:
			return term.stdout.String() + term.stderr.String(), false
		}
	}
}

// newestCode waits until so many codes were printed and returns the last.
func newestCode(t *testing.T, one *terminal, count int) string {
	t.Helper()
	if one == nil {
		t.Fatal("a code is typed before dev runs")
	}
	limit := time.After(patience)
	for {
		changed := one.stdout.more()
		if all := printed.FindAllStringSubmatch(one.stdout.String(), -1); len(all) >= count {
			return all[len(all)-1][1]
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no code was printed:\n%s", one.stdout)
		}
	}
}
