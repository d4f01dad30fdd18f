package group

import (
	"errors"
	"os"
	"syscall"
)

// allocate takes the first size bytes of the file from the disk, and lets it grow
// to that; false where there is no room. Its error is one of making that last.
func allocate(path string, size int64) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, nil
	}
	if syscall.Fallocate(int(f.Fd()), 0, 0, size) != nil {
		_ = f.Close()
		return false, nil
	}
	return true, errors.Join(f.Sync(), f.Close())
}
