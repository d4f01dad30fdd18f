package bolt

import (
	"context"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

var _ coverage.Store = (*Store)(nil)

// FlushTallies implements coverage.Store.
func (s *Store) FlushTallies(ctx context.Context, by map[coverage.Cell]coverage.Tally) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		for cell, t := range by {
			if err := addTally(tx, bucketLookupTallies, []byte(cell.Platform), t); err != nil {
				return err
			}
			if err := keepDay(tx, bucketLookupDays, cell); err != nil {
				return err
			}
			if err := addTally(tx, bucketLookupDays, dayKey(cell), t); err != nil {
				return err
			}
		}
		return nil
	})
}

func addTally(tx *group.Tx, bucket, k []byte, t coverage.Tally) error {
	sum, err := loadTally(tx, bucket, k)
	if err != nil {
		return err
	}
	sum.Merge(t)
	return save(tx, bucket, k, &recordv1.LookupTally{
		Asked: sum.Asked, Answered: sum.Answered, Silent: sum.Silent, Malformed: sum.Malformed, Late: sum.Late, Buckets: sum.Times[:],
	})
}

// Tallies implements coverage.Store.
func (s *Store) Tallies(ctx context.Context) (map[platform.ID]coverage.Tally, error) {
	out := make(map[platform.ID]coverage.Tally)
	err := s.db.View(ctx, func(tx *group.Tx) error {
		return tx.Bucket(bucketLookupTallies).ForEach(func(k, _ []byte) error {
			t, err := loadTally(tx, bucketLookupTallies, k)
			out[platform.ID(k)] = t
			return err
		})
	})
	return out, err
}

// loadTally reads a record of any age: an older one has no late answers.
func loadTally(tx *group.Tx, bucket, k []byte) (coverage.Tally, error) {
	r := new(recordv1.LookupTally)
	if _, err := load(tx, bucket, k, r); err != nil {
		return coverage.Tally{}, err
	}
	t := coverage.Tally{Asked: r.GetAsked(), Answered: r.GetAnswered(), Silent: r.GetSilent(), Malformed: r.GetMalformed(), Late: r.GetLate()}
	copy(t.Times[:], r.GetBuckets())
	return t, nil
}

// FirstDay implements coverage.Store.
func (s *Store) FirstDay(ctx context.Context) (time.Time, error) {
	m := new(recordv1.Meta)
	err := s.db.View(ctx, func(tx *group.Tx) error {
		_, err := load(tx, bucketMeta, metaKey, m)
		return err
	})
	return moment(m.GetFirstDay()), err
}
