package group

import (
	"context"

	bbolt "go.etcd.io/bbolt"
)

// Pages is how a file's pages are used.
type Pages struct {
	PageSize int
	FileSize int64 // bytes
	Size     int64 // bytes up to the last page that was ever used
	Free     int64 // bytes of those that hold nothing; writes use them again
	Buckets  []BucketPages
	// Problems are those of no single bucket.
	Problems []string
}

// BucketPages is how one bucket's pages are used.
type BucketPages struct {
	Name      string
	Records   int64
	Bytes     int64 // of keys and values
	Depth     int   // pages from the root to a record
	Branches  int64 // pages that lead to others
	Leaves    int64 // pages that hold records; 0 for a bucket so small that it lies in its parent's page
	Used      int64 // bytes of those pages that hold something
	Allocated int64 // bytes of those pages
	Problems  []string
}

// Problem reports whether anything is wrong.
func (p Pages) Problem() bool {
	for _, b := range p.Buckets {
		if len(b.Problems) > 0 {
			return true
		}
	}
	return len(p.Problems) > 0
}

// Used is the bytes of all pages that hold something.
func (p Pages) Used() int64 {
	var n int64
	for _, b := range p.Buckets {
		n += b.Used
	}
	return n
}

// headerSize is what a page and each record in it take beside keys and values.
const headerSize = 16

// Pages counts the pages of a database that is in use. It reads all pages that
// lead to others and the head of all that hold records, in one read transaction.
func (db *DB) Pages(ctx context.Context) (p Pages, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		p, err = db.pages(tx.raw)
		return err
	})
	return p, err
}

func (db *DB) pages(raw *bbolt.Tx) (Pages, error) {
	p := Pages{PageSize: db.bolt.Info().PageSize, Size: raw.Size()}
	p.FileSize = max(p.Size, fileSize(db.bolt.Path()))
	all := raw.Cursor().Bucket().Stats() // with all buckets in it
	p.Free = p.Size - int64(2*p.PageSize) - int64(all.BranchAlloc+all.LeafAlloc)
	return p, raw.ForEach(func(name []byte, b *bbolt.Bucket) error {
		p.Buckets = append(p.Buckets, bucketPages(string(name), b.Stats()))
		return nil
	})
}

func bucketPages(name string, s bbolt.BucketStats) BucketPages {
	used, pages := s.LeafInuse, s.LeafPageN
	if s.InlineBucketN > 0 {
		used, pages = s.InlineBucketInuse, 1
	}
	return BucketPages{
		Name: name, Records: int64(s.KeyN), Bytes: int64(used - headerSize*(pages+s.KeyN)), Depth: s.Depth,
		Branches: int64(s.BranchPageN + s.BranchOverflowN), Leaves: int64(s.LeafPageN + s.LeafOverflowN),
		Used: int64(s.BranchInuse + s.LeafInuse), Allocated: int64(s.BranchAlloc + s.LeafAlloc),
	}
}
