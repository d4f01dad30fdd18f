// Package bolt keeps everything the hub knows in one bbolt file: it implements
// the ports of floor 4, one file for each.
package bolt

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// Store is the hub's file. All methods are safe for concurrent use.
//
// A method that changes something returns after its transaction, which it shares
// with others, is on disk. An error of the commit itself means that nobody knows
// whether it is: the store then refuses all further work (Broken), and only a new
// start, which reads what is really there, goes on.
type Store struct {
	db   *group.DB
	keys *seal.Keys
	// clock is the hub's; nil for the machine's, and then no time is noted.
	clock *clock.Clock

	leases leases
	run    int64 // how often the file was opened
	tell   Notice
}

// Option changes how a file is opened.
type Option func(*Store)

// WithClock keeps the hub's time over restarts: the clock goes on from the largest
// time that the file has noted.
func WithClock(c *clock.Clock) Option { return func(s *Store) { s.clock = c } }

// WithNotice tells what a long start does.
func WithNotice(tell Notice) Option { return func(s *Store) { s.tell = tell } }

func newStore(keys *seal.Keys, options []Option) *Store {
	s := &Store{keys: keys, tell: func(string, ...any) {}}
	for _, o := range options {
		o(s)
	}
	return s
}

// Open opens or makes the file. Personal fields are sealed with keys. A file of an
// older layout is migrated first.
//
// Errors: the file is in use by another process, is newer than this program, or
// was sealed with other keys; there is no room for a migration; *clock.AheadError, before anything is written.
func Open(path string, keys *seal.Keys, options ...Option) (*Store, error) {
	s := newStore(keys, options)
	err := migrate(path, keys, true, s.tell)
	if err != nil {
		return nil, err
	}
	if s.db, err = group.Open(path, group.Options{Buckets: allBuckets(), Growing: growing(), Begin: s.begin, Settle: settle}); err != nil {
		return nil, err
	}
	return s, nil
}

// begin counts the opening. The count is the upper half of fencing tokens, so
// that no token of an earlier run is ever valid again.
func (s *Store) begin(tx *group.Tx) error {
	m := new(recordv1.Meta)
	found, err := load(tx, bucketMeta, metaKey, m)
	if err != nil {
		return err
	}
	if m.GetSchemaVersion() > schemaVersion {
		return tooNew(m.GetSchemaVersion())
	}
	if err := s.checkKeys(tx, found); err != nil {
		return err
	}
	if err := s.clock.Resume(moment(m.GetLargestTime())); err != nil {
		return err
	}
	if !found {
		m.FirstDay, m.SchemaVersion = timestamppb.New(s.clock.Now()), schemaVersion
	}
	if s.clock != nil {
		m.LargestTime = timestamppb.New(s.clock.Now())
	}
	if err := beginDays(tx, m, coverage.DayOf(s.clock.Now())); err != nil {
		return err
	}
	m.Opens++
	s.run = m.GetOpens()
	s.leases.begin(m.GetOpens())
	return save(tx, bucketMeta, metaKey, m)
}

// checkKeys keeps a sealed word in the file, so that a start with the wrong key
// file fails at once and not at the first record.
func (s *Store) checkKeys(tx *group.Tx, old bool) error {
	const word = "tongcha"
	k := []byte("keys")
	b := tx.Bucket(bucketMeta)
	if !old {
		sealed, err := s.keys.Seal([]byte(word), k)
		if err != nil {
			return err
		}
		return b.Put(k, sealed)
	}
	if plain, err := s.keys.Open(b.Get(k), k); err != nil || string(plain) != word {
		return errors.New("store: the file was sealed with other keys; give the key file it was made with")
	}
	return nil
}

// Close closes the file, after those who wait for their write. Leases end with
// it; their orders are due at the next start.
func (s *Store) Close() error {
	s.noteLast()
	return s.db.Close()
}

// Broken is closed when a commit failed. The process must end then.
func (s *Store) Broken() <-chan struct{} { return s.db.Broken() }

// Failure is what the system said when the commit failed; nil as long as none did.
func (s *Store) Failure() error { return s.db.Failure() }

// load reads a record; false where there is none.
func load(tx *group.Tx, bucket, k []byte, m proto.Message) (bool, error) {
	v := tx.Bucket(bucket).Get(k)
	if v == nil {
		return false, nil
	}
	if err := proto.Unmarshal(v, m); err != nil {
		return false, fmt.Errorf("store: broken record in %s: %w", bucket, err)
	}
	return true, nil
}

func save(tx *group.Tx, bucket, k []byte, m proto.Message) error {
	v, err := encode(bucket, m)
	if err != nil {
		return err
	}
	if err := tx.Bucket(bucket).Put(k, v); err != nil {
		return fmt.Errorf("store: put into %s: %w", bucket, err)
	}
	return nil
}

func encode(bucket []byte, m proto.Message) ([]byte, error) {
	v, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("store: encode record for %s: %w", bucket, err)
	}
	return v, nil
}

// sealFor seals a message for the record at bucket and key.
func (s *Store) sealFor(bucket, k []byte, m proto.Message) ([]byte, error) {
	plain, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("store: encode secret for %s: %w", bucket, err)
	}
	return s.keys.Seal(plain, key(bucket, zero, k))
}

func (s *Store) openFor(bucket, k, sealed []byte, m proto.Message) error {
	plain, err := s.keys.Open(sealed, key(bucket, zero, k))
	if err != nil {
		return fmt.Errorf("store: secret in %s: %w", bucket, err)
	}
	if err := proto.Unmarshal(plain, m); err != nil {
		return fmt.Errorf("store: broken secret in %s: %w", bucket, err)
	}
	return nil
}

// stamp turns a time into a timestamp; the zero time into nil.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// moment is the inverse of stamp.
func moment(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}
