package group

import (
	"bytes"
	"fmt"
	"slices"

	bbolt "go.etcd.io/bbolt"
)

// Tx is a transaction with a journal of what the verb under way changed. bbolt
// knows no savepoints, and its own transaction can't be reached from outside, so
// that no write passes the journal by.
type Tx struct {
	raw     *bbolt.Tx
	growing [][]byte
	buckets []opened
	changes []change
	bytes   []byte // what changes point into; the transaction's own copies
	size    int    // bytes written by the verb under way
	wrote   int    // bytes written by those that were kept
	noted   []any  // by the verb under way
	notes   []any  // by those that were kept
}

// Note keeps v, if the verb is kept, for the settling of the group: what many
// verbs add to one record is written once.
func (tx *Tx) Note(v any) { tx.noted = append(tx.noted, v) }

// change is a key as it was before a write.
type change struct {
	in       *bbolt.Bucket
	key, old []byte
	had      bool
}

// Bucket returns a bucket that Open was given.
func (tx *Tx) Bucket(name []byte) Bucket {
	for _, b := range tx.buckets {
		if bytes.Equal(b.name, name) {
			return Bucket{tx: tx, raw: b.raw}
		}
	}
	raw := tx.raw.Bucket(name)
	if slices.ContainsFunc(tx.growing, func(g []byte) bool { return bytes.Equal(g, name) }) {
		raw.FillPercent = 0.9
	}
	tx.buckets = append(tx.buckets, opened{name, raw})
	return Bucket{tx: tx, raw: raw}
}

// opened is a bucket that was asked for: to find it again among the file's is a
// search of a tree.
type opened struct {
	name []byte
	raw  *bbolt.Bucket
}

// keep ends a verb; what it wrote stays.
func (tx *Tx) keep() {
	tx.wrote += tx.size
	tx.notes = append(tx.notes, tx.noted...)
	tx.forget()
}

// undo ends a verb and takes back what it wrote, the last first.
func (tx *Tx) undo() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("undo: panic (%T)", v)
		}
	}()
	for i := len(tx.changes) - 1; i >= 0; i-- {
		c := tx.changes[i]
		if c.had {
			err = c.in.Put(c.key, bytes.Clone(c.old)) // bbolt keeps the value, and the journal is used again
		} else {
			err = c.in.Delete(c.key)
		}
		if err != nil {
			return fmt.Errorf("undo: %w", err)
		}
	}
	tx.forget()
	return nil
}

func (tx *Tx) forget() {
	tx.changes, tx.bytes, tx.size = tx.changes[:0], tx.bytes[:0], 0
	clear(tx.noted)
	tx.noted = tx.noted[:0]
}

// note journals that a write of size bytes changes k, which was old.
func (tx *Tx) note(in *bbolt.Bucket, k, old []byte, size int) {
	tx.changes = append(tx.changes, change{in: in, key: tx.copy(k), old: tx.copy(old), had: old != nil})
	tx.size += len(k) + size
}

func (tx *Tx) copy(b []byte) []byte {
	from := len(tx.bytes)
	tx.bytes = append(tx.bytes, b...)
	return tx.bytes[from:]
}

// Bucket is one bucket in one transaction. What its methods return may be read
// until the verb ends, and not changed.
type Bucket struct {
	tx  *Tx
	raw *bbolt.Bucket
}

// Get returns the value of k; nil where there is none.
func (b Bucket) Get(k []byte) []byte { return b.raw.Get(k) }

// Put sets the value of k, which must not be changed any more. A nil value is
// stored as an empty one.
func (b Bucket) Put(k, v []byte) error {
	if v == nil {
		v = []byte{} // else Get, and so the journal, would not see the key before the commit
	}
	b.tx.note(b.raw, k, b.raw.Get(k), len(v))
	return b.raw.Put(k, v)
}

// PutNew sets the value of a key that the caller knows not to be there, such as
// one with a fresh id in it: it costs one search of the tree less than Put.
func (b Bucket) PutNew(k, v []byte) error {
	if v == nil {
		v = []byte{}
	}
	b.tx.note(b.raw, k, nil, len(v))
	return b.raw.Put(k, v)
}

// Swap sets the value of a key whose value the caller knows to be old.
func (b Bucket) Swap(k, old, v []byte) error {
	b.tx.note(b.raw, k, old, len(v))
	return b.raw.Put(k, v)
}

// Remove removes a key whose value the caller knows to be old.
func (b Bucket) Remove(k, old []byte) error {
	if old == nil {
		old = []byte{}
	}
	b.tx.note(b.raw, k, old, 0)
	return b.raw.Delete(k)
}

// Delete removes k, if it is there.
func (b Bucket) Delete(k []byte) error {
	old := b.raw.Get(k)
	if old == nil {
		return nil
	}
	b.tx.note(b.raw, k, old, 0)
	return b.raw.Delete(k)
}

// ForEach calls f for every key in order, until f returns an error.
func (b Bucket) ForEach(f func(k, v []byte) error) error { return b.raw.ForEach(f) }

// Cursor returns a cursor; a write to the bucket makes it useless.
func (b Bucket) Cursor() Cursor { return Cursor{raw: b.raw.Cursor()} }

// Cursor walks a bucket in the order of its keys; a nil key is the end.
type Cursor struct{ raw *bbolt.Cursor }

// First goes to the first key.
func (c Cursor) First() (k, v []byte) { return c.raw.First() }

// Last goes to the last key.
func (c Cursor) Last() (k, v []byte) { return c.raw.Last() }

// Next goes to the next key.
func (c Cursor) Next() (k, v []byte) { return c.raw.Next() }

// Prev goes to the key before.
func (c Cursor) Prev() (k, v []byte) { return c.raw.Prev() }

// Seek goes to the first key that is not below k.
func (c Cursor) Seek(k []byte) ([]byte, []byte) { return c.raw.Seek(k) }
