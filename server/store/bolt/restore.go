package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// opensAhead is how far a restore moves the count of openings: further than a hub
// was ever started between a backup and its restore, so that no fencing token and
// no run comes twice, and near enough for 4,000 restores.
const opensAhead = 1 << 20

// RestoreOptions says how a backup is put in the place of a database.
type RestoreOptions struct {
	CheckOptions      // with keys
	DryRun       bool // find out what would happen, and change nothing
}

// Restored is what a restore does.
type Restored struct {
	Report *Report // of the backup
	// Present says whether there is a database now, Read whether it could be read.
	Present, Read bool
	Kept          string // where the present database is kept; "" where there is none

	// Of the orders in the backup:
	Open      int64 // those that go on; the hub sends them again under the same ids
	Cancelled int64 // those that were cancelled since, as the present database says; they stay so
	// Of the present database, where it could be read:
	Lost      int64    // orders the backup lacks
	Suspended []string // platforms suspended since; they stay so

	Voided int64 // codes and sessions that end
}

// Restore puts a backup in the place of the database at path, which no hub has
// open: the backup is checked, copied beside it and changed to what the past may
// still say (see rewind), checked again, and then takes the name in one step. The
// present database keeps a name of its own. A crash leaves the present database or
// the restored one, and perhaps a .restore file, which the next restore replaces.
//
// Errors: ErrInUse; ErrNoRoom; the backup is damaged, or was sealed with other keys.
func Restore(ctx context.Context, backup, path string, o RestoreOptions) (*Restored, error) {
	if o.Keys == nil {
		return nil, errors.New("store: a restore needs the key file that the backup was made with")
	}
	r := &restore{ctx: ctx, backup: backup, path: path, fresh: path + ".restore", o: o, out: new(Restored)}
	if sameFile(backup, r.fresh) { // which is removed before anything is read from it
		return r.out, fmt.Errorf("store: %s has the name that a restore writes under; give the backup another one first", backup)
	}
	defer r.close()
	err := r.run()
	return r.out, errors.Join(err, removed(r.fresh))
}

type restore struct {
	ctx                 context.Context
	backup, path, fresh string
	o                   RestoreOptions
	out                 *Restored
	present             *group.File // nil where there is none that can be opened
}

func (r *restore) close() {
	if r.present != nil {
		_ = r.present.Close()
	}
}

func (r *restore) run() (err error) {
	if r.out.Report, err = Check(r.ctx, r.backup, r.o.CheckOptions); err != nil {
		return fmt.Errorf("the backup: %w", err)
	}
	if !r.out.Report.OK() {
		return fmt.Errorf("the backup has %d problems and was not restored; see `tongcha db check %s`, and take an older one", len(r.out.Report.Problems), r.backup)
	}
	if err := r.openPresent(); err != nil {
		return err
	}
	if err := roomFor(filepath.Dir(r.path), r.out.Report.Pages.Size+growth); err != nil {
		return err
	}
	if err := r.prepare(); err != nil {
		return err
	}
	if r.o.DryRun {
		return nil
	}
	return r.swap()
}

// openPresent keeps a hub from starting until the end, and finds out whether the
// present database can be read.
func (r *restore) openPresent() (err error) {
	if _, err := os.Lstat(r.path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	r.out.Present = true
	r.out.Kept = fmt.Sprintf("%s.replaced-%s", r.path, time.Now().UTC().Format("20060102T150405.000Z"))
	r.present, err = group.OpenFile(r.path)
	if errors.Is(err, ErrInUse) {
		return err
	}
	if err != nil {
		r.present = nil // damaged, and nobody can open it either
		return nil
	}
	pages, err := r.present.Survey(r.ctx, func(done, total int64) { r.o.tell("present database", done, total) })
	if err != nil || pages.Problem() {
		return err
	}
	m := new(recordv1.Meta)
	return r.present.View(func(tx *group.Tx) error {
		if !tx.Has(bucketMeta) {
			return nil
		}
		found, err := load(tx, bucketMeta, metaKey, m)
		r.out.Read = err == nil && found && m.GetSchemaVersion() <= schemaVersion && (&Store{keys: r.o.Keys}).checkKeys(tx, true) == nil
		return nil
	})
}

// prepare makes the file that takes the database's place.
func (r *restore) prepare() error {
	err := writeFile(r.fresh, func(w io.Writer) error {
		_, err := FileSource{Path: r.backup, Progress: r.o.Progress}.CopyTo(r.ctx, w)
		return err
	})
	if err != nil {
		return err
	}
	if err := migrate(r.fresh, r.o.Keys, false, func(string, ...any) {}); err != nil {
		return err
	}
	s, err := Open(r.fresh, r.o.Keys)
	if err != nil {
		return err
	}
	err = r.rewind(s)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	after, err := Check(r.ctx, r.fresh, r.o.CheckOptions)
	if err != nil {
		return err
	}
	if !after.OK() {
		return fmt.Errorf("store: what was made of the backup has %d problems; nothing was changed. Report this, and take an older backup", len(after.Problems))
	}
	return nil
}

// rewind changes what would be wrong to believe of the past.
func (r *restore) rewind(s *Store) error {
	return r.reading(func(present *group.Tx) error {
		w := &rewinding{ctx: r.ctx, s: s, past: &Store{keys: r.o.Keys}, present: present, out: r.out}
		return w.run()
	})
}

// reading gives the present database's records to do; nil where they can't be read.
func (r *restore) reading(do func(*group.Tx) error) error {
	if !r.out.Read {
		return do(nil)
	}
	return r.present.View(do)
}

// swap gives the restored file the name. The present one has two names for a
// moment rather than none: a hub that started without a database would begin a new
// one.
func (r *restore) swap() error {
	model := filepath.Dir(r.path)
	if r.out.Present {
		model = r.path
		if err := os.Link(r.path, r.out.Kept); err != nil {
			return fmt.Errorf("store: keep the present database: %w", err)
		}
	}
	if err := likeOwner(r.fresh, model); err != nil {
		return err
	}
	return moveInto(r.fresh, r.path)
}
