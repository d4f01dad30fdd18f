//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// victim is a hub that is started and killed over and over.
type victim struct {
	a    *arena
	args []string

	mu      sync.Mutex
	number  int // of the run, from 1
	plan    plan
	left    int // occurrences of the event until the kill
	process *os.Process
	stopped bool // was asked to stop
	killed  moment
	now     hubRun
	changed chan struct{} // closed at the next change
	kills   int
}

// hubRun is one run of the hub.
type hubRun struct {
	number int
	base   string // of REST; empty until it serves
	grpc   string
	calm   bool
	over   chan struct{} // closed when the process has ended
}

func newVictim(a *arena, args ...string) *victim {
	return &victim{a: a, args: args, changed: make(chan struct{})}
}

// host is the name that a run of the hub has in its certificate, by which
// platforms tell runs apart for sure: calls of a run that was killed may still be
// in a socket when the next one calls.
func host(number int) string { return fmt.Sprintf("run-%d.chaos.test", number) }

// tell wakes who waits for a change. The mutex is held.
func (v *victim) tell() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// start begins a run; watch its log and reap it in the background.
func (v *victim) start(p plan) (hubRun, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.number++
	v.plan, v.left, v.stopped, v.killed = p, p.nth, false, ""
	v.now = hubRun{number: v.number, calm: p.calm, over: make(chan struct{})}
	cmd := v.a.command(append(v.args, "--host", host(v.number))...)
	// A harness that is killed leaves no hub behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &hubLog{v: v, run: v.number}
	cmd.Stderr, cmd.Stdout = log, log
	if err := cmd.Start(); err != nil {
		return hubRun{}, err
	}
	v.process = cmd.Process
	go v.reap(cmd, v.now, log)
	if p.at == duringStart {
		v.later(p.after, v.number, duringStart)
	}
	v.later(p.limit, v.number, unplanned)
	return v.now, nil
}

// reap waits for the end of a run. One that ended by itself is a breach.
func (v *victim) reap(cmd *exec.Cmd, r hubRun, log *hubLog) {
	_ = cmd.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.killed == "" && (!v.stopped || cmd.ProcessState.ExitCode() != 0) {
		v.a.ledger.breach("run %d ended by itself, %s: %s", r.number, cmd.ProcessState, log.tail())
	}
	v.process, v.now.base = nil, ""
	close(r.over)
	v.tell()
}

func (v *victim) later(after time.Duration, run int, m moment) {
	if after > 0 {
		time.AfterFunc(after, func() { v.strike(run, m) })
	}
}

// serves is told where a run listens.
func (v *victim) serves(run int, base, grpc string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.number != run || v.process == nil {
		return
	}
	v.now.base, v.now.grpc = base, grpc
	v.tell()
	switch v.plan.at {
	case whileServing:
		v.later(max(v.plan.after, time.Microsecond), run, whileServing)
	case duringStop:
		time.AfterFunc(v.plan.after, func() { v.stop(run) })
	}
}

// stop asks a run to end, and kills it a moment later.
func (v *victim) stop(run int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.number != run || v.process == nil || v.killed != "" {
		return
	}
	v.stopped = true
	_ = v.process.Signal(syscall.SIGTERM)
	v.later(v.a.between(0, 12*time.Millisecond), run, duringStop)
}

// reached is told of every event. When the plan says so it kills the hub, and
// returns when that is dead: nothing that its caller does afterwards reaches it.
func (v *victim) reached(m moment) {
	v.mu.Lock()
	if v.plan.at != m || v.process == nil || v.killed != "" {
		v.mu.Unlock()
		return
	}
	v.left--
	left, after, run, over := v.left, v.plan.after, v.number, v.now.over
	v.mu.Unlock()
	switch {
	case left > 0:
	case after > 0:
		v.later(after, run, m)
	default:
		v.strike(run, m)
		<-over
	}
}

// strike kills a run, if that is what runs.
func (v *victim) strike(run int, m moment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.number != run || v.process == nil || v.killed != "" {
		return
	}
	if err := v.process.Kill(); err != nil {
		return // it has just ended
	}
	v.killed = m
	v.now.base = "" // nobody begins anything with it
	v.kills++
	v.a.kills.hit(m)
	v.a.ledger.add(record{What: recKill, Run: run, Text: string(m)})
}

// await returns the run that serves now, or the next one; with calm only a run in
// which numbers may be proved. False when ctx has ended.
func (v *victim) await(ctx context.Context, calm bool) (hubRun, bool) {
	for {
		v.mu.Lock()
		now, changed := v.now, v.changed
		v.mu.Unlock()
		if now.base != "" && (now.calm || !calm) {
			return now, ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return hubRun{}, false
		}
	}
}

// wants reports whether the run is to be killed at that event.
func (v *victim) wants(m moment) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.plan.at == m && v.killed == ""
}

// hubLog reads what a run prints.
type hubLog struct {
	v    *victim
	run  int
	rest []byte
	last []string
}

var servingLine = regexp.MustCompile(`"msg":"serving","http":"([^"]+)","grpc":"([^"]+)"`)

// Write implements io.Writer.
func (l *hubLog) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.line(string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
}

func (l *hubLog) line(s string) {
	l.last = append(l.last, s)
	if len(l.last) > 40 {
		l.last = slices.Delete(l.last, 0, 1)
	}
	switch {
	case strings.Contains(s, `"msg":"serving"`):
		if m := servingLine.FindStringSubmatch(s); m != nil {
			l.v.serves(l.run, "http://"+m[1], m[2])
			go l.v.reached(onServing) // it waits for the end of the log
		}
	case strings.Contains(s, `"msg":"attempt"`):
		go l.v.reached(onAttemptLogged)
	case strings.Contains(s, "panic"), strings.Contains(s, "DATA RACE"), strings.Contains(s, `"level":"ERROR"`):
		l.v.a.ledger.breach("run %d says: %s", l.run, s)
	}
}

// tail is its last lines. Call it when the process has ended.
func (l *hubLog) tail() string { return strings.Join(append(l.last, string(l.rest)), "\n") }
