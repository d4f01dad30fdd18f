package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tongcha/tongcha/server/fault"
)

// DiskError is why a hub ended, or did not start, that could not write to its data
// folder. The program that runs it should end at once and with a code of its own.
type DiskError struct {
	// Unknown is set where a commit failed: nobody knows whether it is on disk.
	Unknown bool

	folder string
	free   int64 // bytes; -1 where it can't be told
	cause  error
}

// Error implements error. It says what happened and what to do.
func (e *DiskError) Error() string {
	what, then := "the data folder can't be written", "start the hub again"
	if e.Unknown {
		what = "a commit to the database failed, so nobody knows whether it is on disk; the hub stopped at once and has confirmed nothing since"
		then = "start the hub again: it goes on from what is really there"
	}
	do := fmt.Sprintf("look for errors of the disk under %s (dmesg), move the folder to a good one if there are any, then %s", e.folder, then)
	if e.full() {
		do = fmt.Sprintf("the file system of %s is full: make room, without removing a file of that folder, then %s", e.folder, then)
	}
	return fmt.Sprintf("%s: %v; %s", what, e.cause, do)
}

// Unwrap returns what the system said.
func (e *DiskError) Unwrap() error { return e.cause }

// full reports whether room is what lacks. Not every error says so: what the store
// wraps may have lost its number on the way.
func (e *DiskError) full() bool {
	return errors.Is(e.cause, syscall.ENOSPC) || errors.Is(e.cause, syscall.EDQUOT) || e.free >= 0 && e.free < 1<<20
}

// OfDisk turns an error that the disk is the cause of into a DiskError, and leaves
// any other. Of a hub whose store broke every error is one.
func (h *Hub) OfDisk(err error) error {
	if broken := h.broken(); broken != nil {
		return broken
	}
	return ofDisk(h.cfg.Data, err)
}

func ofDisk(folder string, err error) error {
	disk := errors.Is(err, fault.StoreFailed)
	for _, number := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		disk = disk || errors.Is(err, number)
	}
	var before *DiskError
	if !disk || errors.As(err, &before) {
		return err
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Unwrap() != nil {
		err = f.Unwrap() // it is for the operator, who needs no reason
	}
	return &DiskError{folder: folder, free: freeSize(folder), cause: err}
}

// broken is the error of a hub whose store broke; nil where it did not.
func (h *Hub) broken() error {
	if h.store == nil || h.store.Failure() == nil {
		return nil
	}
	return &DiskError{Unknown: true, folder: h.cfg.Data, free: h.freeSize(), cause: h.store.Failure()}
}

// Broken is closed when a commit to the database failed. Serve returns then, but
// whoever runs the hub should see to it that the process ends soon, whatever else
// holds it up.
func (h *Hub) Broken() <-chan struct{} { return h.store.Broken() }

// makeFolder makes the data folder and what is missing above it, each so that a
// loss of power does not take it away with all that is in it.
func makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	} else if err == nil {
		return fmt.Errorf("data folder: %s is no folder; choose another with --data", dir)
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeFolder(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("data folder: %w", err)
	}
	f, err := os.Open(above)
	if errors.Is(err, fs.ErrPermission) {
		return nil // whoever may write there and not read has to trust the system
	}
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return nil
}
