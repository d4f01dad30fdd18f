// Package simulator runs platforms of chosen behaviour and a carrier over rows
// in a folder, so that a hub can be tried out whole on one machine.
package simulator

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/connectors/internal/lines"
	"github.com/tongcha/tongcha/connectors/sdk"
)

// The files of a folder. All are in the clear: simulated rows only.
const (
	accountsName = "accounts.ndjson" // rows imported, append-only
	holdersName  = "holders.ndjson"  // rows imported, append-only
	effectsName  = "effects.ndjson"  // one line per order that was carried out
	saltName     = "salt"            // makes account refs opaque; never changes
)

// Data is the rows of all simulated platforms and of the carrier. It is safe for
// concurrent use by one process; two processes must not open the same folder.
//
// The bound accounts are the imported rows less those that the effects name, so
// a crash at any moment leaves them right: an effect is on disk as a whole, or
// it was never answered. After a failed write or fsync nothing more is carried
// out until the folder is opened again.
type Data struct {
	salt []byte

	accountsFile, holdersFile, effectsFile *lines.File

	importMu sync.Mutex // one import at a time

	mu        sync.RWMutex
	bound     map[place][]account
	imported  map[ref]struct{} // every account row ever imported, also removed ones
	platforms map[string]struct{}
	holders   map[string][]holder // by number
	effects   map[effectKey]*effectAt
}

// place is where accounts are bound: a number at a platform.
type place struct{ platformID, phoneNumber string }

type account struct {
	ref     ref
	product string
	boundAt time.Time
}

// OpenData opens the folder or makes a new one.
func OpenData(dir string) (*Data, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	d := &Data{
		bound: map[place][]account{}, imported: map[ref]struct{}{}, platforms: map[string]struct{}{},
		holders: map[string][]holder{}, effects: map[effectKey]*effectAt{},
	}
	if err := d.load(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("simulator: %w", err), d.Close())
	}
	return d, nil
}

// load reads the effects first: they say which of the rows to leave out.
func (d *Data) load(dir string) (err error) {
	if d.salt, err = loadSalt(dir); err != nil {
		return err
	}
	removed := map[ref]struct{}{}
	if d.effectsFile, err = lines.Open(filepath.Join(dir, effectsName), func(line []byte) error {
		return d.replayEffect(line, removed)
	}); err != nil {
		return err
	}
	hash := newRefHash(d.salt)
	if d.accountsFile, err = lines.Open(filepath.Join(dir, accountsName), func(line []byte) error {
		var row accountRow
		if err := json.Unmarshal(line, &row); err != nil {
			return errors.New("not an account row")
		}
		d.addAccount(row, hash.of(row), removed)
		return nil
	}); err != nil {
		return err
	}
	d.holdersFile, err = lines.Open(filepath.Join(dir, holdersName), func(line []byte) error {
		var row holderRow
		if err := json.Unmarshal(line, &row); err != nil {
			return errors.New("not a holder row")
		}
		d.addHolder(row)
		return nil
	})
	return err
}

// addAccount takes a row in; the caller holds d.mu or is alone.
func (d *Data) addAccount(row accountRow, r ref, removed map[ref]struct{}) {
	if _, twice := d.imported[r]; twice {
		return
	}
	d.imported[r] = struct{}{}
	d.platforms[row.PlatformID] = struct{}{}
	if _, gone := removed[r]; gone {
		return
	}
	at := place{row.PlatformID, row.PhoneNumber}
	d.bound[at] = append(d.bound[at], account{ref: r, product: row.Product, boundAt: row.BoundAt})
}

// Close closes the files.
func (d *Data) Close() error {
	var errs []error
	for _, f := range []*lines.File{d.accountsFile, d.holdersFile, d.effectsFile} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// PlatformIDs returns the platforms that rows were ever imported for, sorted.
func (d *Data) PlatformIDs() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ids := make([]string, 0, len(d.platforms))
	for id := range d.platforms {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Accounts returns the accounts bound to a number at a platform, the longest
// bound first.
func (d *Data) Accounts(platformID, phoneNumber string) []sdk.Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	rows := d.bound[place{platformID, phoneNumber}]
	out := make([]sdk.Account, len(rows))
	for i, a := range rows {
		out[i] = sdk.Account{Ref: a.ref.String(), Product: a.product, BoundAt: a.boundAt}
	}
	slices.SortStableFunc(out, func(a, b sdk.Account) int { return a.BoundAt.Compare(b.BoundAt) })
	return out
}

// loadSalt reads the folder's salt or makes one. A new salt would give every row
// another ref and bring removed rows back, so a folder with rows but no salt is
// refused.
func loadSalt(dir string) ([]byte, error) {
	path := filepath.Join(dir, saltName)
	b, err := os.ReadFile(path)
	if err == nil {
		salt, err := hex.DecodeString(string(b))
		if err != nil || len(salt) != 32 {
			return nil, errors.New("salt: not 64 hex digits")
		}
		return salt, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, accountsName)); err == nil {
		return nil, errors.New("salt: missing from a folder that has rows")
	}
	salt := make([]byte, 32)
	rand.Read(salt)
	return salt, writeWhole(path, []byte(hex.EncodeToString(salt)))
}

// writeWhole writes a file so that a crash leaves all of it or none.
func writeWhole(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return lines.SyncDir(filepath.Dir(path))
}
