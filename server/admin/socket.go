package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// maxSocketPath is what a Unix socket's address holds on every system we know,
// less one.
const maxSocketPath = 100

// Listen opens the socket at path, mode 0600. What is left of an earlier run is
// removed, which is safe because the caller holds the lock on the hub's
// database beside it.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin: remove old socket: %w", err)
	}
	// It gets its name when its mode is right, so that nobody else opens it before.
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin: remove old socket: %w", err)
	}
	short, done, err := shorten(fresh)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.Listen("unix", short)
	if err != nil {
		return nil, fmt.Errorf("admin: open socket %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("admin: open socket %s: %w", path, err), l.Close())
	}
	return &listener{Listener: l, path: path}, nil
}

type listener struct {
	net.Listener
	path string
}

// Close closes the socket and removes its file.
func (l *listener) Close() error {
	err := l.Listener.Close()
	if rerr := os.Remove(l.path); rerr != nil && !errors.Is(rerr, os.ErrNotExist) && err == nil {
		err = rerr
	}
	return err
}

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return new(net.Dialer).DialContext(ctx, "unix", short)
}

// shorten gives a path that fits into a socket address: for a deep data folder
// one that goes through an open handle of that folder.
func shorten(path string) (string, func(), error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, fmt.Errorf("admin: socket folder: %w", err)
	}
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	return short, func() { _ = dir.Close() }, nil
}
