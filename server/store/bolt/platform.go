package bolt

import (
	"context"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// PutPlatform records a catalogued platform, replacing the one of the same id.
func (s *Store) PutPlatform(ctx context.Context, e platform.Entry) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		return save(tx, bucketPlatforms, []byte(e.ID), &recordv1.Platform{
			PlatformId: string(e.ID), DisplayName: e.DisplayName, Category: e.Category, Address: e.Address, Suspended: e.Suspended,
			SuspendReason: e.SuspendReason, AddTime: stamp(e.AddTime), SelfServiceUrl: e.SelfServiceURL, Functions: uint32(e.Functions),
		})
	})
}

// Platforms returns every catalogued platform, ordered by id.
func (s *Store) Platforms(ctx context.Context) ([]platform.Entry, error) {
	var out []platform.Entry
	err := s.db.View(ctx, func(tx *group.Tx) error {
		return tx.Bucket(bucketPlatforms).ForEach(func(k, _ []byte) error {
			r := new(recordv1.Platform)
			if _, err := load(tx, bucketPlatforms, k, r); err != nil {
				return err
			}
			out = append(out, platform.Entry{
				ID: platform.ID(r.GetPlatformId()), DisplayName: r.GetDisplayName(), Category: r.GetCategory(), Address: r.GetAddress(),
				Suspended: r.GetSuspended(), SuspendReason: r.GetSuspendReason(), AddTime: moment(r.GetAddTime()),
				SelfServiceURL: r.GetSelfServiceUrl(), Functions: platform.Functions(r.GetFunctions()),
			})
			return nil
		})
	})
	return out, err
}

var _ coverage.Store = (*Store)(nil)

// FlushTallies implements coverage.Store.
func (s *Store) FlushTallies(ctx context.Context, by map[platform.ID]coverage.Tally) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		for id, t := range by {
			sum, err := loadTally(tx, []byte(id))
			if err != nil {
				return err
			}
			sum.Merge(t)
			err = save(tx, bucketLookupTallies, []byte(id), &recordv1.LookupTally{
				Asked: sum.Asked, Answered: sum.Answered, Silent: sum.Silent, Malformed: sum.Malformed, Buckets: sum.Times[:],
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Tallies implements coverage.Store.
func (s *Store) Tallies(ctx context.Context) (map[platform.ID]coverage.Tally, error) {
	out := make(map[platform.ID]coverage.Tally)
	err := s.db.View(ctx, func(tx *group.Tx) error {
		return tx.Bucket(bucketLookupTallies).ForEach(func(k, _ []byte) error {
			t, err := loadTally(tx, k)
			out[platform.ID(k)] = t
			return err
		})
	})
	return out, err
}

func loadTally(tx *group.Tx, id []byte) (coverage.Tally, error) {
	r := new(recordv1.LookupTally)
	if _, err := load(tx, bucketLookupTallies, id, r); err != nil {
		return coverage.Tally{}, err
	}
	t := coverage.Tally{Asked: r.GetAsked(), Answered: r.GetAnswered(), Silent: r.GetSilent(), Malformed: r.GetMalformed()}
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
