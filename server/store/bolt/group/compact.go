package group

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"

	bbolt "go.etcd.io/bbolt"
)

// CopyOptions says how records are copied into a new file.
type CopyOptions struct {
	// Batch is the bytes of one transaction, which it takes in memory; 0 is 8 MiB.
	Batch int64
	// Most ends the copy after about so many bytes, for a sample; 0 copies all.
	Most int64
	// Fill is how full a bucket's pages are made, above 0 and up to 1: those that
	// only grow at their end can be full. nil fills all of them to 90 %.
	Fill     func(bucket []byte) float64
	Progress func(bytes int64) // may be nil
}

// Content is what a file holds, whatever its pages: two files of the same content
// have the same Digest.
type Content struct {
	Records int64
	Bytes   int64 // of keys and values
	Digest  [sha256.Size]byte
}

// CopyRecords makes a new file at path, replacing what is there, that holds the
// same records in as few pages as they need. It is on disk when CopyRecords
// returns; after an error, what is at path is of no use.
func (f *File) CopyRecords(ctx context.Context, path string, o CopyOptions) (_ Content, err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Content{}, fmt.Errorf("store: %w", err)
	}
	to := options()
	to.NoSync = true       // until all is written: a crash before that leaves a file that nobody uses
	to.InitialMmapSize = 0 // by which bbolt would make the file longer
	dst, err := bbolt.Open(path, 0o600, to)
	if err != nil {
		return Content{}, fmt.Errorf("store: make %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	c := &copier{ctx: ctx, o: o, dst: dst, digest: sha256.New()}
	if c.o.Batch == 0 {
		c.o.Batch = 8 << 20
	}
	if err := f.bolt.View(c.copy); err != nil {
		return Content{}, errors.Join(err, c.abandon())
	}
	if err := c.commit(); err != nil {
		return Content{}, err
	}
	return c.content(), dst.Sync()
}

// Content reads every record.
func (f *File) Content(ctx context.Context, progress func(bytes int64)) (Content, error) {
	c := &copier{ctx: ctx, o: CopyOptions{Progress: progress}, digest: sha256.New()}
	err := f.bolt.View(c.copy)
	return c.content(), err
}

// copier copies records, or only reads them where dst is nil.
type copier struct {
	ctx    context.Context
	o      CopyOptions
	dst    *bbolt.DB
	digest hash.Hash
	tx     *bbolt.Tx
	batch  int64
	sum    Content
}

func (c *copier) content() Content {
	c.digest.Sum(c.sum.Digest[:0])
	return c.sum
}

func (c *copier) copy(raw *bbolt.Tx) error {
	return raw.ForEach(func(name []byte, b *bbolt.Bucket) error {
		c.hash(name, nil)
		if err := c.bucket(name); err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return fmt.Errorf("store: bucket %s holds another bucket", name)
			}
			if c.o.Most > 0 && c.sum.Bytes >= c.o.Most {
				return nil
			}
			return c.record(name, k, v)
		})
	})
}

// hash adds a record with its lengths, so that no two contents read alike.
func (c *copier) hash(k, v []byte) {
	_, _ = c.digest.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(len(k))), uint64(len(v))))
	_, _ = c.digest.Write(k)
	_, _ = c.digest.Write(v)
}

func (c *copier) record(name, k, v []byte) error {
	c.hash(k, v)
	n := int64(len(k) + len(v))
	c.sum.Records++
	c.sum.Bytes += n
	c.batch += n + headerSize
	if c.sum.Records%1024 == 0 {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if c.o.Progress != nil {
			c.o.Progress(c.sum.Bytes)
		}
	}
	if c.dst == nil {
		return nil
	}
	if c.batch > c.o.Batch {
		if err := c.commit(); err != nil {
			return err
		}
		if err := c.bucket(name); err != nil {
			return err
		}
	}
	b := c.tx.Bucket(name)
	b.FillPercent = c.fill(name) // of this transaction alone
	return b.Put(k, v)
}

func (c *copier) fill(name []byte) float64 {
	if c.o.Fill == nil {
		return 0.9
	}
	return c.o.Fill(name)
}

// bucket makes the bucket, in a transaction that is begun where there is none.
func (c *copier) bucket(name []byte) (err error) {
	if c.dst == nil {
		return nil
	}
	if c.tx == nil {
		if c.tx, err = c.dst.Begin(true); err != nil {
			return err
		}
	}
	_, err = c.tx.CreateBucketIfNotExists(name)
	return err
}

func (c *copier) commit() error {
	if c.tx == nil {
		return nil
	}
	tx := c.tx
	c.tx, c.batch = nil, 0
	return tx.Commit()
}

func (c *copier) abandon() error {
	if c.tx == nil {
		return nil
	}
	return c.tx.Rollback()
}
