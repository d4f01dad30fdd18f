package server

import (
	"context"
	"io"
	"path/filepath"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// Database is the path of the database of the hub whose data folder is given.
func Database(data string) string { return filepath.Join(data, databaseFile) }

// KeyFile is the path of the key file of that hub, unless it was given another.
func KeyFile(data string) string { return filepath.Join(data, keysFile) }

// database is the store as the operator's socket uses it.
type database struct{ store *bolt.Store }

// Backup implements admin.Store.
func (d database) Backup(ctx context.Context, to func(*adminv1.StoreStats) io.Writer) error {
	return d.store.Backup(ctx, func(p bolt.Pages) io.Writer { return to(StoreStats(p)) })
}

// StoreStats implements admin.Store.
func (d database) StoreStats(ctx context.Context) (*adminv1.StoreStats, error) {
	p, err := d.store.Pages(ctx)
	return StoreStats(p), err
}

// StoreStats is how a database is used, as a message.
func StoreStats(p bolt.Pages) *adminv1.StoreStats {
	m := &adminv1.StoreStats{FileBytes: p.FileSize, LiveBytes: p.Size - p.Free, FreeBytes: p.Free, PageBytes: int32(p.PageSize)}
	for _, b := range p.Buckets {
		m.Buckets = append(m.Buckets, &adminv1.BucketStats{
			Name: b.Name, Records: b.Records, Bytes: b.Bytes, Depth: int32(b.Depth),
			BranchPages: b.Branches, LeafPages: b.Leaves, UsedBytes: b.Used, AllocatedBytes: b.Allocated,
		})
	}
	return m
}
