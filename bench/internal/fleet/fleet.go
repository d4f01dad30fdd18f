// Package fleet runs simulated platforms in processes of their own, behind
// mutual TLS, for programs that measure the hub.
package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/tongcha/tongcha/server/pki"
)

const (
	trustDomain = "bench.tongcha.example"
	// roleVariable tells a copy of the program that it is to be platforms.
	roleVariable = "TONGCHA_BENCH_PLATFORMS"
	endWithin    = 5 * time.Second
)

// Fleet is a set of platforms in processes of their own. Its methods must not be
// called at once.
type Fleet struct {
	Site      Site
	processes []*process
}

// Start runs platforms in so many processes, each a copy of this program whose
// main calls Main first.
func Start(platforms, processes int) (_ *Fleet, err error) {
	f := &Fleet{Site: Site{TrustDomain: trustDomain}}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is what counts
		}
	}()
	shares, err := f.papers(platforms, processes)
	if err != nil {
		return nil, err
	}
	for _, share := range shares {
		p, err := startProcess()
		if err != nil {
			return nil, err
		}
		f.processes = append(f.processes, p)
		r, err := p.ask(opening{TrustDomain: trustDomain, CAPEM: f.Site.CAPEM, Platforms: share})
		if err != nil {
			return nil, err
		}
		f.Site.Platforms = append(f.Site.Platforms, r.Platforms...)
	}
	return f, nil
}

// papers makes an authority that nobody keeps and a certificate for everyone.
func (f *Fleet) papers(platforms, processes int) ([][]paper, error) {
	if platforms < 1 || processes < 1 || processes > platforms {
		return nil, errors.New("want at least one platform for each process, and one process")
	}
	dir, err := os.MkdirTemp("", "tongcha-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := pki.Create(dir, trustDomain); err != nil {
		return nil, err
	}
	ca, err := pki.Load(dir)
	if err != nil {
		return nil, err
	}
	hub, _, err := ca.Issue(pki.RoleHub, "hub", pki.IssueOptions{})
	if err != nil {
		return nil, err
	}
	f.Site.CAPEM, f.Site.CertPEM, f.Site.KeyPEM = ca.CertPEM(), hub.CertPEM, hub.KeyPEM
	shares := make([][]paper, processes)
	for i := range platforms {
		id := fmt.Sprintf("platform-%02d", i)
		pair, _, err := ca.Issue(pki.RolePlatform, id, pki.IssueOptions{})
		if err != nil {
			return nil, err
		}
		shares[i%processes] = append(shares[i%processes], paper{ID: id, Seed: uint64(i), CertPEM: pair.CertPEM, KeyPEM: pair.KeyPEM})
	}
	return shares, nil
}

// Set changes how the named platforms behave, or all where none is named. A
// platform whose mode changes closes its connections.
func (f *Fleet) Set(b Behaviour, ids ...string) error {
	_, err := f.each(command{Platforms: ids, Set: &b})
	return err
}

// PIDs are the processes of the platforms.
func (f *Fleet) PIDs() []int {
	var out []int
	for _, p := range f.processes {
		out = append(out, p.cmd.Process.Pid)
	}
	return out
}

// Totals are what all platforms counted until now.
func (f *Fleet) Totals() (Totals, error) { return f.each(command{}) }

func (f *Fleet) each(c command) (Totals, error) {
	var sum Totals
	for _, p := range f.processes {
		r, err := p.ask(c)
		if err != nil {
			return Totals{}, err
		}
		sum.Served += r.Served
		sum.Sent += r.Sent
	}
	return sum, nil
}

// Close ends the processes, by force if they don't go within 5 s.
func (f *Fleet) Close() error {
	var all error
	for _, p := range f.processes {
		all = errors.Join(all, p.close())
	}
	return all
}

// process is one process of platforms. It ends when its standard input does, so
// that it outlives its parent never.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *json.Decoder
}

func startProcess() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, in: in, lines: json.NewDecoder(bufio.NewReader(out))}, nil
}

func (p *process) ask(v any) (reply, error) {
	if err := json.NewEncoder(p.in).Encode(v); err != nil {
		return reply{}, fmt.Errorf("platforms: %w", err)
	}
	var r reply
	if err := p.lines.Decode(&r); err != nil {
		return reply{}, fmt.Errorf("platforms: %w", err)
	}
	if r.Problem != "" {
		return reply{}, fmt.Errorf("platforms: %s", r.Problem)
	}
	return r, nil
}

func (p *process) close() error {
	_ = p.in.Close() // which asks it to go
	force := time.AfterFunc(endWithin, func() { _ = p.cmd.Process.Kill() })
	defer force.Stop()
	return p.cmd.Wait()
}
