package bolt

import (
	"errors"
	"fmt"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/seal"
)

// ErrInUse says that a hub has the file open.
var ErrInUse = errors.New("store: the file is in use by a running hub")

// inspectTimeout is how long Inspect waits for the file's lock.
const inspectTimeout = 100 * time.Millisecond

// Inspect reports what Open would fail on, and changes nothing. It holds a lock
// that keeps a hub from starting for the moment it takes.
//
// Errors: ErrInUse; the file is no database, is newer than this program, or was
// sealed with other keys.
func Inspect(path string, keys *seal.Keys) (err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: inspectTimeout, ReadOnly: true})
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s := &Store{db: db, keys: keys}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketMeta) == nil {
			return nil // made, and cut off before its first commit: Open begins it
		}
		m := new(recordv1.Meta)
		if found, err := load(tx, bucketMeta, metaKey, m); err != nil || !found {
			return err
		}
		if m.GetSchemaVersion() > schemaVersion {
			return tooNew(m.GetSchemaVersion())
		}
		return s.checkKeys(tx, true)
	})
}

func tooNew(version int32) error {
	return fmt.Errorf("store: the file has layout %d, this program knows %d; use the newer program", version, schemaVersion)
}
