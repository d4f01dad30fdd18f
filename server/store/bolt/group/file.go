package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// File is a file that no hub has open, or a copy of one: it can be looked at and
// copied, not changed. As long as it is open no hub can open it.
type File struct {
	path string
	raw  *os.File
	bolt *bbolt.DB
}

// OpenFile opens a file to look at it. Nothing but its two first pages is read
// yet, so that a damaged file can be opened too.
//
// Errors: ErrInUse; the file is not there, or is no database, or too damaged to
// tell.
func OpenFile(path string) (_ *File, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("store: %s is no file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("store: %s is empty", path) // bbolt would begin it
	}
	f := &File{path: path}
	f.bolt, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: inspectTimeout, ReadOnly: true, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		f.raw, err = os.OpenFile(name, flag, mode)
		return f.raw, err
	}})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s is no database, or its beginning is damaged: %w", path, err)
	}
	return f, nil
}

// Close closes the file; a hub can open it again.
func (f *File) Close() error { return f.bolt.Close() }

// Survey reads every page that is in use and says what is wrong with it. Only
// where nothing is may the records be read. progress may be nil.
func (f *File) Survey(ctx context.Context, progress func(done, total int64)) (Pages, error) {
	return surveyFile(ctx, f.raw, fileSize(f.path), progress)
}

// CheckPages lets bbolt check its pages in its own way, after a Survey that found
// nothing.
func (f *File) CheckPages() []string {
	var problems []string
	_ = f.bolt.View(func(raw *bbolt.Tx) error {
		for err := range raw.Check() {
			if len(problems) < maxProblems {
				problems = append(problems, err.Error())
			}
		}
		return nil
	})
	return problems
}

// View runs read on the file's records.
func (f *File) View(read func(*Tx) error) error {
	return f.bolt.View(func(raw *bbolt.Tx) error { return read(&Tx{raw: raw}) })
}

// WriteTo copies the file as it is, without what may lie behind its last page.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	var n int64
	err := f.bolt.View(func(raw *bbolt.Tx) (err error) {
		n, err = raw.WriteTo(w)
		return err
	})
	return n, err
}

// Snapshot copies a database that is in use to what to returns, as it was at one
// moment: to is told what that holds first. The copy is a read transaction:
// while it lasts the pages that writers leave are not used again, so the file
// grows. Whoever calls bounds it by what its writer does.
//
// Errors: fault.StoreFailed; the writer's own.
func (db *DB) Snapshot(ctx context.Context, to func(Pages) io.Writer) error {
	return db.View(ctx, func(tx *Tx) error {
		p, err := db.pages(tx.raw)
		if err != nil {
			return err
		}
		_, err = tx.raw.WriteTo(to(p))
		return err
	})
}

// Has reports whether there is such a bucket, which Bucket takes for granted.
func (tx *Tx) Has(name []byte) bool { return tx.raw.Bucket(name) != nil }

// fileSize is 0 where it can't be told.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// LayoutTx is a transaction that may change which buckets there are. It keeps no
// journal: whatever fails undoes all of it.
type LayoutTx struct{ *Tx }

// Make makes a bucket, unless it is there.
func (tx LayoutTx) Make(name []byte) error {
	_, err := tx.raw.CreateBucketIfNotExists(name)
	return err
}

// Drop removes a bucket with all that is in it, if it is there.
func (tx LayoutTx) Drop(name []byte) error {
	if !tx.Has(name) {
		return nil
	}
	return tx.raw.DeleteBucket(name)
}

// Set sets the value of k in a bucket.
func (tx LayoutTx) Set(bucket, k, v []byte) error {
	if v == nil {
		v = []byte{}
	}
	return tx.raw.Bucket(bucket).Put(k, v)
}

// Unset removes k from a bucket.
func (tx LayoutTx) Unset(bucket, k []byte) error { return tx.raw.Bucket(bucket).Delete(k) }

// Change runs steps one after the other on a file that nobody has open, each in a
// transaction of its own: a crash leaves the work of whole steps.
//
// Errors: ErrInUse; a step's own, with what it wrote undone.
func Change(path string, steps ...func(LayoutTx) error) (err error) {
	db, _, err := mapped(path, options())
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, step := range steps {
		if err := db.Update(func(raw *bbolt.Tx) error { return step(LayoutTx{&Tx{raw: raw}}) }); err != nil {
			return err
		}
	}
	return nil
}

// stillNamed checks that the file that was opened is the one at path: whoever
// restores or compacts gives the name to another file while a hub may already wait
// for the lock of the first.
func stillNamed(path string, opened os.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if !os.SameFile(opened, now) {
		return fmt.Errorf("store: %s was replaced at this moment; start again", path)
	}
	return nil
}
