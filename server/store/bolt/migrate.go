package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// Notice is told what a long start does: a text and pairs of a key and a value, as
// for a log.
type Notice func(text string, args ...any)

// migration raises the layout of a file by one.
type migration struct {
	from int32
	step func(group.LayoutTx) error
}

// migrations are in order and never change: a file of any age goes through those
// that it has not seen. Each is one transaction, which raises the layout too.
func migrations() []migration {
	return []migration{{from: 1, step: indexDeadLetters}}
}

// layoutOf is the layout of a file that no hub has open; 0 where there is none yet.
//
// Errors: ErrInUse; the file is no database, or was sealed with other keys.
func layoutOf(path string, keys *seal.Keys) (layout int32, err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	err = group.Inspect(path, bucketMeta, func(tx *group.Tx) error {
		m := new(recordv1.Meta)
		found, err := load(tx, bucketMeta, metaKey, m)
		if err != nil || !found {
			return err
		}
		layout = m.GetSchemaVersion()
		return (&Store{keys: keys}).checkKeys(tx, true)
	})
	return layout, err
}

// Migration is what a start with a file of an older layout does first.
type Migration struct {
	From, To int32
	Backup   string // where the file as it is will be kept
	Need     int64  // bytes that have to be free
}

// MigrationOf says which migration a start would begin with; false for none.
//
// Errors: as Inspect.
func MigrationOf(path string, keys *seal.Keys) (Migration, bool, error) {
	from, err := layoutOf(path, keys)
	if err != nil || from == 0 || from >= schemaVersion {
		return Migration{}, false, err
	}
	if first := migrations()[0].from; from < first {
		return Migration{}, false, fmt.Errorf("store: the file has layout %d, this program begins with %d; open it with an older program first", from, first)
	}
	m := Migration{From: from, To: schemaVersion, Backup: fmt.Sprintf("%s.v%d-%s.bak", path, from, time.Now().UTC().Format("20060102T150405Z"))}
	m.Need = 2*fileBytes(path) + growth // the copy, and what the migration writes anew
	return m, true, nil
}

// migrate brings an older file to the layout of this program, after a copy of it
// was made and read again. A crash leaves the old file, or the new one, or one that
// has some of the steps behind it and goes on at the next start.
func migrate(path string, keys *seal.Keys, keep bool, tell Notice) error {
	m, older, err := MigrationOf(path, keys)
	if errors.Is(err, ErrInUse) {
		return nil // Open waits for it, and says so
	}
	if err != nil || !older {
		return err
	}
	if err := roomFor(filepath.Dir(path), m.Need); err != nil {
		return fmt.Errorf("the database has layout %d and is to be migrated to %d: %w", m.From, m.To, err)
	}
	if keep {
		tell("migrating the database: copying it first", "from", m.From, "to", m.To, "bytes", fileBytes(path))
		if m.Backup, err = keepOld(path, m.Backup); err != nil {
			return fmt.Errorf("the database is not migrated, since no copy of it could be made: %w", err)
		}
		tell("the database as it was is kept; remove the copy when the new hub has run well", "copy", m.Backup)
	}
	var steps []func(group.LayoutTx) error
	for _, x := range migrations() {
		if x.from >= m.From {
			steps = append(steps, x.run(tell))
		}
	}
	if err := group.Change(path, steps...); err != nil {
		return fmt.Errorf("the database could not be migrated from layout %d and is as it was (a copy is %s): %w", m.From, m.Backup, err)
	}
	return nil
}

// run is the step with the layout it leads to.
func (x migration) run(tell Notice) func(group.LayoutTx) error {
	return func(tx group.LayoutTx) error {
		began := time.Now()
		m := new(recordv1.Meta)
		found, err := load(tx.Tx, bucketMeta, metaKey, m)
		if err != nil || !found {
			return errors.Join(err, errors.New("store: the file does not say what it is"))
		}
		if m.GetSchemaVersion() != x.from {
			return fmt.Errorf("store: the file has layout %d, the step begins with %d", m.GetSchemaVersion(), x.from)
		}
		if err := x.step(tx); err != nil {
			return err
		}
		m.SchemaVersion = x.from + 1
		v, err := encode(bucketMeta, m)
		if err != nil {
			return err
		}
		tell("migrated the database", "layout", m.GetSchemaVersion(), "took", time.Since(began).Round(time.Millisecond).String())
		return tx.Set(bucketMeta, metaKey, v)
	}
}

// keepOld copies the file to backup, unless a copy of the very same content is
// there: a hub that is started again and again in the middle of a migration must
// not fill the disk. It returns the name of the copy.
func keepOld(path, backup string) (string, error) {
	part := path + ".bak.part"
	if _, err := savePart(context.Background(), FileSource{Path: path}, part, CheckOptions{}); err != nil {
		return "", errors.Join(err, removed(part))
	}
	older, err := filepath.Glob(strings.SplitN(backup, "-", 2)[0] + "-*.bak")
	if err != nil {
		older = nil // the path has signs that mean something there; the copy is made
	}
	for _, name := range older {
		if sameRecords(name, part) {
			return name, removed(part)
		}
	}
	return backup, moveInto(part, backup)
}

// sameRecords compares two files. Their bytes may differ where nothing lies: a
// migration that was killed has written there.
func sameRecords(a, b string) bool {
	var all [2]group.Content
	for i, name := range []string{a, b} {
		f, err := group.OpenFile(name)
		if err != nil {
			return false
		}
		p, err := f.Survey(context.Background(), nil)
		if err == nil && !p.Problem() {
			all[i], err = f.Content(context.Background(), nil)
		}
		if err := errors.Join(err, f.Close()); err != nil || p.Problem() {
			return false
		}
	}
	return all[0] == all[1]
}

// indexDeadLetters is 1 → 2. The value of orders_of, which was nothing, is the
// platform, so that orders_open, which led to one open order at a platform, goes.
// orders_dead has what was abandoned. Orders that have ended get the day on which
// they are removed. The orders themselves stay as they are: their times are read in
// both forms, and written in the new one at the next move.
func indexDeadLetters(tx group.LayoutTx) error {
	err := errors.Join(tx.Drop([]byte("orders_open")), tx.Make([]byte("orders_of")), tx.Make([]byte("orders_dead")), tx.Make([]byte("expiry")))
	if err != nil || !tx.Has([]byte("orders")) {
		return err
	}
	return tx.Bucket([]byte("orders")).ForEach(func(id, v []byte) error {
		r := new(recordv1.Order)
		if err := proto.Unmarshal(v, r); err != nil {
			return fmt.Errorf("store: order %s is broken; see `tongcha db check`, and restore a backup that has it whole", id)
		}
		return indexOrder1(tx, id, r)
	})
}

// indexOrder1 writes what layout 2 has beyond layout 1.
func indexOrder1(tx group.LayoutTx, id []byte, r *recordv1.Order) error {
	const refused, abandoned, cancelled, completed = 6, 7, 8, 5
	const life = 180 * 24 * time.Hour
	at := []byte(r.GetPlatformId())
	if err := tx.Set([]byte("orders_of"), key(r.GetSubject(), id), at); err != nil {
		return err
	}
	ended := moment(r.GetStateTime())
	switch r.GetState() {
	case completed, refused, abandoned, cancelled:
		if err := tx.Set([]byte("expiry"), key(timeKey(ended.Add(life)), []byte("orders"), zero, id), nil); err != nil {
			return err
		}
	}
	if r.GetState() != abandoned {
		return nil
	}
	reason := ""
	for _, h := range r.GetHistory() {
		if h.GetState() == abandoned {
			reason = h.GetReason() // the last one stays
		}
	}
	return tx.Set([]byte("orders_dead"), key(at, zero, timeKey(ended), id), []byte(reason))
}
