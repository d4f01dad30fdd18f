//go:build unix

// Package pgtest starts a PostgreSQL server of its own for a test or a benchmark.
package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long a server may take to come up, and to end when asked politely.
const (
	startLimit = 30 * time.Second
	stopLimit  = 20 * time.Second
)

// Server is a running server. It listens on a unix socket alone and trusts whoever
// can open that.
type Server struct {
	home   string // holds data, socket and log; removed by Stop
	pid    int
	exited chan error // has one value once the server has ended
}

// Start makes a cluster in a new folder in dir and starts the newest server that
// is installed, with settings such as "fsync=on". As root it runs as the user
// postgres or nobody, since PostgreSQL refuses root; that user has to be able to
// reach dir. The server ends with this process.
//
// Errors: no server is installed; it did not come up.
func Start(dir string, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(dir, "pg-")
	if err != nil {
		return nil, err
	}
	if home, err = filepath.Abs(home); err != nil {
		return nil, err
	}
	s := &Server{home: home, exited: make(chan error, 1)}
	if err := s.start(bin, settings); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(bin string, settings []string) error {
	as, err := unprivileged()
	if err != nil {
		return err
	}
	if as != nil {
		if err := os.Chown(s.home, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	// Nothing here has to survive the machine, so the cluster's own files are not
	// synced; what the server writes later is.
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	init.Dir, init.SysProcAttr = s.home, attributes(as)
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	args := []string{"-D", s.data(), "-k", s.home, "-c", "listen_addresses="}
	for _, c := range settings {
		args = append(args, "-c", c)
	}
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	server := exec.Command(filepath.Join(bin, "postgres"), args...)
	server.Dir, server.SysProcAttr, server.Stdout, server.Stderr = s.home, attributes(as), log, log
	if s.pid, err = run(server, s.exited); err != nil {
		return err
	}
	return s.ready()
}

func (s *Server) data() string { return filepath.Join(s.home, "data") }
func (s *Server) log() string  { return filepath.Join(s.home, "log") }

// ready waits until the server says in its lock file that it takes connections.
func (s *Server) ready() error {
	for began := time.Now(); time.Since(began) < startLimit; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-s.exited:
			s.exited <- err
			said, _ := os.ReadFile(s.log())
			return fmt.Errorf("postgres ended: %w\n%s", err, said)
		default:
		}
		lock, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		lines := bytes.Split(lock, []byte("\n"))
		if err == nil && len(lines) > 7 && string(bytes.TrimSpace(lines[7])) == "ready" {
			return nil
		}
	}
	return errors.New("postgres does not come up")
}

// URL is how pgx connects to the database postgres as its owner.
func (s *Server) URL() string { return fmt.Sprintf("host=%s user=postgres dbname=postgres", s.home) }

// PID is the server's first process; all others are its children.
func (s *Server) PID() int { return s.pid }

// Stop ends the server, first politely, and removes what it left.
func (s *Server) Stop() error {
	if s.pid != 0 {
		s.end()
	}
	return os.RemoveAll(s.home)
}

// end sends the signals of a fast and of an immediate shutdown, then the one that
// nothing outlives.
func (s *Server) end() {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = syscall.Kill(s.pid, sig) // Wait has not returned, so that the pid is still ours
		select {
		case err := <-s.exited:
			s.exited <- err
			return
		case <-time.After(stopLimit):
		}
	}
}

// binaries finds the folder with initdb and postgres: Debian keeps those of each
// version out of the PATH.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no PostgreSQL server is installed; install the Debian package postgresql: %w", fs.ErrNotExist)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// unprivileged is who runs the server; nil for whoever runs this process.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
	}
	return nil, errors.New("no user postgres or nobody; run as another user than root")
}
