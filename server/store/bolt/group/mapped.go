package group

import (
	"errors"
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
