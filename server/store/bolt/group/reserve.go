package group

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ahead is how many bytes behind the last page of the file are taken from the
// disk before they are needed. Three quarters of it are there when a commit begins,
// for the largest of groups. Without it the file has holes, and a full disk is met in the
// middle of a commit. With it what is owed already is still written on a disk that
// somebody else has filled, and so is the commit of a start.
const ahead = 2 * maxBytes

// retryAfter is for how many groups nothing is tried after the disk had no room.
const retryAfter = 256

// reserve keeps room behind the pages that are in use. Its zero value has none
// yet.
type reserve struct {
	path string
	upto int64 // bytes from the beginning that are taken for sure
	rest int   // groups to go before the next try
}

// keep takes more room where less than three quarters of it are left behind used
// bytes. A disk that has none, or a file system that can't, is no failure: the commit itself
// tells. Its error is a sync's, after which nothing of the file is sure.
func (r *reserve) keep(used int64) error {
	if used+ahead/4*3 <= r.upto {
		return nil
	}
	if r.rest > 0 {
		r.rest--
		return nil
	}
	took, err := allocate(r.path, used+ahead)
	if err != nil {
		return fmt.Errorf("grow: %w", err)
	}
	if !took {
		r.rest = retryAfter
		return nil
	}
	r.upto = used + ahead
	return nil
}

// isFresh reports whether there is no file at path yet, or an empty one.
func isFresh(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
}

// syncFolder makes the name of a new file last: without it a loss of power may
// take the whole file.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("store: sync folder: %w", err)
	}
	return nil
}
