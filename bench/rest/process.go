package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// roleVariable tells a copy of the program what it is to be.
const roleVariable = "TONGCHA_BENCH_ROLE"

// endWithin is how long a process may take to end before it is killed.
const endWithin = 15 * time.Second

// roles are what a copy of the program can be. Each reads what it needs from
// stdin, says on stdout where it listens, and ends when stdin does.
func roles() map[string]func(in *json.Decoder, out *json.Encoder) error {
	return map[string]func(*json.Decoder, *json.Encoder) error{"platform": platformMain, "hub": hubMain, "plain": plainMain}
}

// roleMain does not return in a copy of the program.
func roleMain() {
	name := os.Getenv(roleVariable)
	if name == "" {
		return
	}
	if err := roles()[name](json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil {
		fmt.Fprintf(os.Stderr, "rest: %s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is another program of the run.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	done chan error
}

// start runs a copy of this program in a role, tells it what it needs and reads
// where it listens.
func (b *bench) start(role string, tell, told any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p := &process{cmd: cmd, done: make(chan error, 1)}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.run(p); err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	if err := json.NewEncoder(p.in).Encode(tell); err != nil {
		return nil, err
	}
	return p, p.out.Decode(told)
}

// run starts the process and sees to its end.
func (b *bench) run(p *process) error {
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return err
	}
	b.children = append(b.children, p)
	go func() { p.done <- p.cmd.Wait() }()
	return nil
}

// Close asks the process to end, by the end of its stdin or by a signal, and
// kills it where it does not.
func (p *process) Close() error {
	if p.in != nil {
		_ = p.in.Close()
	} else {
		_ = p.cmd.Process.Signal(os.Interrupt)
	}
	select {
	case err := <-p.done:
		return err
	case <-time.After(endWithin):
		_ = p.cmd.Process.Kill()
		return errors.Join(fmt.Errorf("%s did not end in time", p.cmd.Path), <-p.done)
	}
}

// untilEOF waits until the parent wants no more.
func untilEOF(in *json.Decoder) {
	for {
		var more json.RawMessage
		if in.Decode(&more) != nil {
			return
		}
	}
}

// listen serves HTTP on a free port.
func listen(h http.Handler) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(l, h) }()
	return l.Addr().String(), nil
}
