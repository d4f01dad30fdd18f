package group

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	bbolt "go.etcd.io/bbolt"
)

// mapped opens a file as o says, and tells which file that was. Where there are not
// so many addresses (a limit of the process, a small machine) the map grows with the
// file, as it would without o.InitialMmapSize: a reader then holds up a writer at
// times, which is better than no hub.
func mapped(path string, o *bbolt.Options) (db *bbolt.DB, which os.FileInfo, err error) {
	with := *o
	openFile := o.OpenFile
	if openFile == nil {
		openFile = os.OpenFile
	}
	with.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := openFile(name, flag, mode)
		if err == nil {
			which, err = f.Stat()
		}
		return f, err
	}
	db, err = bbolt.Open(path, 0o600, &with)
	if errors.Is(err, syscall.ENOMEM) && with.InitialMmapSize > 0 {
		with.InitialMmapSize = 0
		db, err = bbolt.Open(path, 0o600, &with)
	}
	return db, which, err
}

// large is the size from which on a file is mapped anew once its free pages are
// known.
const large = 64 << 20

// mapAnew drops what opening a large file has read of it to find its free pages,
// which is all of it: it would count as this process's memory from then on. The
// list is written into the file once, and the file opened again, which reads that
// list alone. A crash in between leaves a file that is opened like any other.
func (db *DB) mapAnew(path string, o *bbolt.Options) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if info.Size() < large {
		return nil
	}
	db.bolt.NoFreelistSync = false
	err = db.bolt.Update(func(raw *bbolt.Tx) error {
		db.durable.last.Store(int64(raw.ID()))
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: write the free pages: %w", err)
	}
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	file, opened, err := mapped(path, o)
	if err != nil {
		return fmt.Errorf("store: open %s again: %w", path, err)
	}
	db.bolt = file
	return stillNamed(path, opened)
}
