package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tongcha/tongcha/connectors/internal/lines"
)

// importBlock is about how many bytes of rows go into one write.
const importBlock = 1 << 20

// CheckAccounts reports what ImportAccounts would refuse; it writes nothing.
func CheckAccounts(r io.Reader, c Checks) error {
	_, err := readAccounts(r, c)
	return err
}

// CheckHolders reports what ImportHolders would refuse; it writes nothing.
func CheckHolders(r io.Reader, c Checks) error {
	_, err := readHolders(r, c)
	return err
}

// ImportAccounts takes in the rows of a CSV file with the columns platform_id,
// phone_number, product, bound_at and id_suffix (product and id_suffix may be
// empty) and returns how many were new. Rows imported before are left out, so
// one that was removed does not return; the n-th of identical rows of a file is
// a row of its own.
//
// A bad row fails the whole file with a *RowError before anything is written. A
// crash, or a failed write, leaves a part of the rows; importing the file again
// adds the rest and doubles none.
func (d *Data) ImportAccounts(r io.Reader, c Checks) (int, error) {
	d.importMu.Lock()
	defer d.importMu.Unlock()
	rows, err := readAccounts(r, c)
	if err != nil {
		return 0, fmt.Errorf("simulator: accounts: %w", err)
	}
	refs := make([]ref, 0, len(rows))
	hash := newRefHash(d.salt)
	fresh := rows[:0]
	d.mu.RLock()
	for _, row := range rows {
		key := hash.of(row)
		if _, known := d.imported[key]; !known {
			fresh, refs = append(fresh, row), append(refs, key)
		}
	}
	d.mu.RUnlock()
	if err := appendRows(d.accountsFile, fresh); err != nil {
		return 0, fmt.Errorf("simulator: accounts: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, row := range fresh {
		d.addAccount(row, refs[i], nil)
	}
	return len(fresh), nil
}

// ImportHolders takes in the rows of a CSV file with the columns phone_number,
// id_suffix and holder_since, under the same rules as ImportAccounts, but equal
// rows are one row.
func (d *Data) ImportHolders(r io.Reader, c Checks) (int, error) {
	d.importMu.Lock()
	defer d.importMu.Unlock()
	rows, err := readHolders(r, c)
	if err != nil {
		return 0, fmt.Errorf("simulator: holders: %w", err)
	}
	fresh := rows[:0]
	seen := make(map[holderRow]struct{}, len(rows))
	d.mu.RLock()
	for _, row := range rows {
		_, twice := seen[row]
		seen[row] = struct{}{}
		if !twice && !d.hasHolder(row) {
			fresh = append(fresh, row)
		}
	}
	d.mu.RUnlock()
	if err := appendRows(d.holdersFile, fresh); err != nil {
		return 0, fmt.Errorf("simulator: holders: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, row := range fresh {
		d.addHolder(row)
	}
	return len(fresh), nil
}

// appendRows writes rows as lines, in large blocks, with one fsync at the end.
func appendRows[T any](f *lines.File, rows []T) error {
	var block []byte
	var mark lines.Mark
	for i, row := range rows {
		line, err := json.Marshal(row)
		if err != nil {
			return err
		}
		block = append(append(block, line...), '\n')
		if len(block) < importBlock && i < len(rows)-1 {
			continue
		}
		if mark, err = f.Append(block); err != nil {
			return err
		}
		block = block[:0]
	}
	return f.Sync(mark)
}

func readAccounts(r io.Reader, c Checks) ([]accountRow, error) {
	t, err := openTable(r, "platform_id", "phone_number", "product", "bound_at", "id_suffix")
	if err != nil {
		return nil, err
	}
	var rows []accountRow
	times := map[string]int{} // how often a row stood in this file
	for {
		if err := t.next(); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, err
		}
		row, err := t.account(c)
		if err != nil {
			return nil, err
		}
		text := row.text()
		times[text]++
		row.Occurrence = times[text]
		rows = append(rows, row)
	}
}

func (t *table) account(c Checks) (row accountRow, err error) {
	if row.PlatformID, err = t.platformID(0); err != nil {
		return row, err
	}
	if row.PhoneNumber, err = t.phone(1, c); err != nil {
		return row, err
	}
	if row.Product, err = t.product(2); err != nil {
		return row, err
	}
	if row.BoundAt, err = t.time(3); err != nil {
		return row, err
	}
	if t.get(4) != "" {
		row.IDSuffix, err = t.suffix(4, c)
	}
	return row, err
}

func readHolders(r io.Reader, c Checks) ([]holderRow, error) {
	t, err := openTable(r, "phone_number", "id_suffix", "holder_since")
	if err != nil {
		return nil, err
	}
	var rows []holderRow
	for {
		if err := t.next(); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, err
		}
		var row holderRow
		if row.PhoneNumber, err = t.phone(0, c); err != nil {
			return nil, err
		}
		if row.IDSuffix, err = t.suffix(1, c); err != nil {
			return nil, err
		}
		if row.HolderSince, err = t.time(2); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
}
