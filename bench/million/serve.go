package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/sms"
)

// serveVariable makes this program be a hub over the folder it names.
const serveVariable = "MILLION_SERVE"

// serve is a hub as `tongcha serve` makes one.
func serve(dir string) error {
	cfg := server.DefaultConfig()
	cfg.Data, cfg.KeyFile = dir, filepath.Join(dir, "keys.json")
	cfg.HTTP, cfg.GRPC, cfg.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Sender, cfg.AllowUnattested = sms.NewPrinter(io.Discard), true
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if _, err := os.Stat(filepath.Join(dir, "tongcha.db")); err != nil {
		return err // a hub would make an empty one
	}
	hub, err := server.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return hub.Serve(ctx, func(server.Addresses) { fmt.Println("ready") })
}

// started is how a hub came up.
type started struct {
	ready            time.Duration
	rss, anon, files float64 // MiB when ready: all, its own, pages of files
	peak             float64
}

func (s started) String() string {
	return fmt.Sprintf("ready in %.2f s, %.0f MiB resident (%.0f own, %.0f of the file; %.0f at most)", s.ready.Seconds(), s.rss, s.anon, s.files, s.peak)
}

// start starts a hub over dir, waits until it is ready and ends it; with kill by
// SIGKILL, so that the next start is one after a crash: it is done twice then.
func start(dir string, crashed bool) (started, error) {
	if crashed {
		if _, err := once(dir, syscall.SIGKILL); err != nil {
			return started{}, err
		}
	}
	return once(dir, syscall.SIGTERM)
}

func once(dir string, end syscall.Signal) (s started, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	s.ready = time.Since(began)
	if line == "ready\n" {
		err = s.memory(cmd.Process.Pid)
	} else {
		err = errors.New("the hub did not get ready")
	}
	_ = cmd.Process.Signal(end)
	_ = cmd.Wait() // killed, or stopped
	return s, err
}

// memory reads what the kernel says of a process.
func (s *started) memory(pid int) error {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for name, to := range map[string]*float64{"VmRSS": &s.rss, "RssAnon": &s.anon, "RssFile": &s.files, "VmHWM": &s.peak} {
		_, rest, _ := strings.Cut(string(body), name+":")
		kib, err := strconv.ParseFloat(strings.Fields(rest + " x")[0], 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = kib / 1024
	}
	return nil
}
