package bolt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNoRoom says that the disk has no room for what is to be written.
var ErrNoRoom = errors.New("store: not enough room on the disk")

// growth is what a new file may take beyond its records, at most: bbolt makes large
// files longer by this.
const growth = 16 << 20

// roomFor checks that need bytes are free where dir lies. Where that can't be told
// it is tried: a disk that is full is an error of the write itself.
func roomFor(dir string, need int64) error {
	free, ok := FreeBytes(dir)
	if ok && free < need {
		return fmt.Errorf("%w: %s has %d MiB free of the %d MiB needed; free some, or move the data folder to a larger disk", ErrNoRoom, dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// FreeBytes is what is free for this user where dir lies; false where it can't be
// told.
func FreeBytes(dir string) (int64, bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true
}

// writeFile makes a file that only its owner can read, replacing what is there,
// and returns when what fill wrote is on disk. After an error there is no file.
func writeFile(path string, fill func(io.Writer) error) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// moveInto gives a file that is on disk its name, in place of what has it, in one
// step; it is so after a crash too when moveInto has returned.
func moveInto(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return syncFolder(filepath.Dir(to))
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// likeOwner gives a new file to whom an older one or its folder belongs: an
// operator who is root must not leave a database that the hub can't open.
func likeOwner(path, model string) error {
	info, err := os.Stat(model)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// fileBytes is the size of a file; 0 where it can't be told.
func fileBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// sameFile reports whether both names lead to one file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// digestOf is the SHA-256 of a file.
func digestOf(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, fmt.Errorf("store: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("store: read %s: %w", path, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
