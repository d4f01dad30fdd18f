package bolt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// Backup copies the database as it is at one moment to what to returns, while
// others go on; to is told how large it is. A writer that is slow makes the file
// grow meanwhile, so the caller bounds it.
func (s *Store) Backup(ctx context.Context, to func(Pages) io.Writer) error {
	return s.db.Snapshot(ctx, to)
}

// Pages counts the records and pages. It reads the head of every page.
func (s *Store) Pages(ctx context.Context) (p Pages, err error) { return s.db.Pages(ctx) }

// PagesOf counts those of a file that no hub has open. A damaged file is an error.
//
// Errors: ErrInUse; the file is no database.
func PagesOf(ctx context.Context, path string, progress Progress) (Pages, error) {
	f, err := group.OpenFile(path)
	if err != nil {
		return Pages{}, err
	}
	p, err := f.Survey(ctx, func(done, total int64) { CheckOptions{Progress: progress}.tell("pages", done, total) })
	if err == nil && p.Problem() {
		err = fmt.Errorf("store: pages of %s are damaged; see `tongcha db check`", path)
	}
	return p, errors.Join(err, f.Close())
}

// Source is where a backup is from.
type Source interface {
	// CopyTo writes the database and returns what it held.
	CopyTo(context.Context, io.Writer) (Pages, error)
}

// FileSource is a file that no hub has open.
type FileSource struct {
	Path     string
	Progress Progress // may be nil
}

// CopyTo implements Source. Errors: ErrInUse; pages are damaged.
func (f FileSource) CopyTo(ctx context.Context, w io.Writer) (Pages, error) {
	file, err := group.OpenFile(f.Path)
	if err != nil {
		return Pages{}, err
	}
	defer func() { _ = file.Close() }()
	p, err := file.Survey(ctx, func(done, total int64) { CheckOptions{Progress: f.Progress}.tell("pages", done, total) })
	if err != nil {
		return p, err
	}
	if p.Problem() {
		return p, fmt.Errorf("store: pages of %s are damaged, so a backup of it would be of no use; see `tongcha db check`", f.Path)
	}
	_, err = file.WriteTo(&counted{ctx: ctx, w: w, total: p.Size, progress: f.Progress})
	return p, err
}

// counted tells how far a copy is, and ends it with its context.
type counted struct {
	ctx         context.Context
	w           io.Writer
	done, total int64
	progress    Progress
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.w.Write(p)
	c.done += int64(n)
	CheckOptions{Progress: c.progress}.tell("copied", c.done, c.total)
	return n, err
}

// SavedBackup is a backup that was written and read again.
type SavedBackup struct {
	Path   string
	Digest [sha256.Size]byte
	Report *Report
}

// Why a backup does not take the name it was given.
var (
	// ErrExists says that it would replace a file.
	ErrExists = errors.New("store: the file exists")
	// ErrNotBackup says that it would replace what is no backup.
	ErrNotBackup = errors.New("store: the file is no backup")
)

// SaveBackup writes a backup of src to a new file at path: under another name
// first, read again and checked in full, and only then under its own, so that
// whatever has that name is a whole backup. A file that is there is replaced only
// with replace, only if it is a backup that nobody uses, and only by one in which
// nothing is wrong.
//
// Problems of single records are in the report: such a backup is kept. Errors:
// ErrExists, ErrNotBackup; pages are damaged; what was written is not what was read.
func SaveBackup(ctx context.Context, src Source, path string, replace bool, o CheckOptions) (*SavedBackup, error) {
	_, err := os.Lstat(path)
	there := err == nil
	if there && !replace {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	if there {
		if err := replaceable(path); err != nil {
			return nil, err
		}
	}
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	b, err := savePart(ctx, src, part, o)
	if err == nil && there && !b.Report.OK() {
		err = fmt.Errorf("store: the new backup has problems, so %s was not replaced by it; give another --out, then see `tongcha db check`", path)
	}
	if err == nil {
		err = moveInto(part, path)
	}
	if err != nil {
		return nil, errors.Join(err, removed(part))
	}
	b.Path = path
	return b, nil
}

// replaceable checks that a backup may take the name of what is at path. A hub that
// runs would go on writing into its file without a name, and all that it confirms
// would be gone with its process; a key file that is replaced can't be had again.
func replaceable(path string) error {
	f, err := group.OpenFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	return f.Close()
}

// removed removes what is of no use any more.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func savePart(ctx context.Context, src Source, part string, o CheckOptions) (*SavedBackup, error) {
	sum := sha256.New()
	var want Pages
	err := writeFile(part, func(w io.Writer) (err error) {
		want, err = src.CopyTo(ctx, io.MultiWriter(w, sum))
		return err
	})
	if err != nil {
		return nil, err
	}
	b := new(SavedBackup)
	sum.Sum(b.Digest[:0])
	if err := sameBytes(part, b.Digest); err != nil {
		return nil, err
	}
	if b.Report, err = Check(ctx, part, o); err != nil {
		return nil, err
	}
	if b.Report.Damaged() {
		return nil, errors.New("store: pages of the backup are damaged; it was not kept. Check the database: tongcha db check")
	}
	return b, sameCounts(want, b.Report.Pages)
}

// sameBytes reads a file again, for a disk that does not hold what it took.
func sameBytes(path string, want [sha256.Size]byte) error {
	got, err := digestOf(path)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("store: %s does not hold what was written to it; try another disk", path)
	}
	return nil
}

// sameCounts compares the records of each bucket.
func sameCounts(want, got Pages) error {
	by := make(map[string]int64)
	for _, b := range got.Buckets {
		by[b.Name] = b.Records
	}
	for _, b := range want.Buckets {
		if by[b.Name] != b.Records {
			return fmt.Errorf("store: the copy has %d records in %s, the database %d; it was not kept, try again", by[b.Name], b.Name, b.Records)
		}
	}
	return nil
}
