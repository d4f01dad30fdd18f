package bolt

import (
	"context"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// PutPlatform records a catalogued platform, replacing the one of the same id.
func (s *Store) PutPlatform(ctx context.Context, e platform.Entry) error {
	return s.ChangePlatforms(ctx, []platform.Entry{e}, nil)
}

// ChangePlatforms records platforms, each replacing the one of the same id, and
// takes others out; all of it or nothing.
func (s *Store) ChangePlatforms(ctx context.Context, put []platform.Entry, remove []platform.ID) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		for _, e := range put {
			if err := save(tx, bucketPlatforms, []byte(e.ID), platformRecord(e)); err != nil {
				return err
			}
		}
		for _, id := range remove {
			if err := tx.Bucket(bucketPlatforms).Delete([]byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

func platformRecord(e platform.Entry) *recordv1.Platform {
	return &recordv1.Platform{
		PlatformId: string(e.ID), DisplayName: e.DisplayName, Category: e.Category, Address: e.Address, Suspended: e.Suspended,
		SuspendReason: e.SuspendReason, AddTime: stamp(e.AddTime), SelfServiceUrl: e.SelfServiceURL, Functions: uint32(e.Functions),
		DisplayNameEn: e.NameEN, WeightMilli: e.WeightMilli, ObligedSince: stamp(e.ObligedSince), Source: e.Source,
	}
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
				Listing: platform.Listing{
					NameEN: r.GetDisplayNameEn(), WeightMilli: r.GetWeightMilli(), ObligedSince: moment(r.GetObligedSince()), Source: r.GetSource(),
				},
			})
			return nil
		})
	})
	return out, err
}
