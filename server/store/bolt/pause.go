package bolt

import (
	"bytes"
	"context"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.PauseStore = (*Store)(nil)

// pausePrefix begins the keys of pauses among what is kept of the hub as a whole:
// "pause" 0 platform → record.Pause, with no platform for the pause of all.
var pausePrefix = []byte("pause\x00")

// Pauses implements unbind.PauseStore.
func (s *Store) Pauses(ctx context.Context) ([]unbind.Pause, error) {
	var out []unbind.Pause
	err := s.db.View(ctx, func(tx *group.Tx) error {
		c := tx.Bucket(bucketMeta).Cursor()
		for k, _ := c.Seek(pausePrefix); bytes.HasPrefix(k, pausePrefix); k, _ = c.Next() {
			r := new(recordv1.Pause)
			if _, err := load(tx, bucketMeta, k, r); err != nil {
				return err
			}
			out = append(out, unbind.Pause{Platform: platform.ID(r.GetPlatformId()), Time: at(r.GetNanos(), nil), Reason: r.GetReason(), By: r.GetBy()})
		}
		return nil
	})
	return out, err
}

// PutPause implements unbind.PauseStore.
func (s *Store) PutPause(ctx context.Context, p unbind.Pause) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		return save(tx, bucketMeta, pauseKey(p.Platform), &recordv1.Pause{
			PlatformId: string(p.Platform), Nanos: nanos(p.Time), Reason: p.Reason, By: p.By,
		})
	})
}

// DropPause implements unbind.PauseStore.
func (s *Store) DropPause(ctx context.Context, id platform.ID) error {
	return s.db.Update(ctx, func(tx *group.Tx) error { return tx.Bucket(bucketMeta).Delete(pauseKey(id)) })
}

func pauseKey(id platform.ID) []byte { return key(pausePrefix, []byte(id)) }
