package simulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"
	"time"
)

// accountRow is a line of accounts.ndjson.
type accountRow struct {
	PlatformID  string    `json:"platform_id"`
	PhoneNumber string    `json:"phone_number"`
	Product     string    `json:"product,omitempty"`
	BoundAt     time.Time `json:"bound_at"` // UTC
	IDSuffix    string    `json:"id_suffix,omitempty"`
	// Occurrence counts identical rows of one file from 1, so that two of them
	// are two accounts, also when the file is imported again.
	Occurrence int `json:"occurrence"`
}

// text is the row's content without the occurrence. No field holds a newline.
func (r accountRow) text() string {
	return strings.Join([]string{
		r.PlatformID, r.PhoneNumber, r.Product, r.BoundAt.UTC().Format(time.RFC3339Nano), r.IDSuffix,
	}, "\n")
}

// ref identifies a row for ever and tells nothing about it without the salt.
type ref [16]byte

// String is the account_ref on the wire, 32 characters.
func (r ref) String() string { return hex.EncodeToString(r[:]) }

func parseRef(s string) (ref, error) {
	var r ref
	if len(s) != 2*len(r) {
		return ref{}, errors.New("not an account ref")
	}
	_, err := hex.Decode(r[:], []byte(s))
	return r, err
}

// refHash makes refs; it is not safe for concurrent use.
type refHash struct{ mac hash.Hash }

func newRefHash(salt []byte) refHash { return refHash{hmac.New(sha256.New, salt)} }

func (h refHash) of(row accountRow) ref {
	h.mac.Reset()
	h.mac.Write([]byte(row.text() + "\n" + strconv.Itoa(row.Occurrence)))
	return ref(h.mac.Sum(nil)[:len(ref{})])
}

// holderRow is a line of holders.ndjson.
type holderRow struct {
	PhoneNumber string    `json:"phone_number"`
	IDSuffix    string    `json:"id_suffix"`
	HolderSince time.Time `json:"holder_since"` // UTC
}

type holder struct {
	suffix string
	since  time.Time
}

// addHolder takes a row in unless it is there; the caller holds d.mu or is
// alone. It reports whether the row is new.
func (d *Data) addHolder(row holderRow) bool {
	if d.hasHolder(row) {
		return false
	}
	d.holders[row.PhoneNumber] = append(d.holders[row.PhoneNumber], holder{row.IDSuffix, row.HolderSince})
	return true
}

func (d *Data) hasHolder(row holderRow) bool {
	for _, h := range d.holders[row.PhoneNumber] {
		if h.suffix == row.IDSuffix && h.since.Equal(row.HolderSince) {
			return true
		}
	}
	return false
}

// presentHolder returns who holds the number at that time: the row with the
// latest holder_since that has come; of equal ones the row imported last.
func (d *Data) presentHolder(phoneNumber string, now time.Time) (holder, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var present holder
	var found bool
	for _, h := range d.holders[phoneNumber] {
		if !h.since.After(now) && (!found || !h.since.Before(present.since)) {
			present, found = h, true
		}
	}
	return present, found
}
