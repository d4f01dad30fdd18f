package bolt

import (
	"fmt"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// ErrInUse says that a hub has the file open.
var ErrInUse = group.ErrInUse

// Inspect reports what Open would fail on, and changes nothing. It holds a lock
// that keeps a hub from starting for the moment it takes.
//
// Errors: ErrInUse; the file is no database, is newer than this program, or was
// sealed with other keys; *clock.AheadError.
func Inspect(path string, keys *seal.Keys, options ...Option) error {
	s := newStore(keys, options)
	return group.Inspect(path, bucketMeta, func(tx *group.Tx) error {
		m := new(recordv1.Meta)
		if found, err := load(tx, bucketMeta, metaKey, m); err != nil || !found {
			return err
		}
		if m.GetSchemaVersion() > schemaVersion {
			return tooNew(m.GetSchemaVersion())
		}
		if err := s.checkKeys(tx, true); err != nil {
			return err
		}
		return s.clock.Resume(moment(m.GetLargestTime()))
	})
}

func tooNew(version int32) error {
	return fmt.Errorf("store: the file has layout %d, this program knows %d; use the newer program", version, schemaVersion)
}
