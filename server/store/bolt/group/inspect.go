package group

import (
	"errors"
	"fmt"
	"os"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrInUse says that another process has the file open.
var ErrInUse = errors.New("store: the file is in use by a running hub")

// inspectTimeout is how long Inspect waits for the file's lock.
const inspectTimeout = 100 * time.Millisecond

// Inspect runs look on a file that nobody has open, and changes nothing. A file
// that is empty or without the bucket was made and cut off before its first commit:
// it has nothing to look at, and Open goes on from there.
//
// Errors: ErrInUse; the file is no database; look's own.
func Inspect(path string, bucket []byte, look func(*Tx) error) (err error) {
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return nil // bbolt would begin it
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: inspectTimeout, ReadOnly: true})
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(raw *bbolt.Tx) error {
		if raw.Bucket(bucket) == nil {
			return nil
		}
		return look(&Tx{raw: raw})
	})
}
