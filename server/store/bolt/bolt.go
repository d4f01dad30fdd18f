// Package bolt keeps everything the hub knows in one bbolt file: it implements
// the ports of floor 4, one file for each.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/seal"
)

// Store is the hub's file. All methods are safe for concurrent use.
//
// A method that changes something returns after its transaction is on disk. An
// error of the commit itself means that nobody knows whether it is: the store
// then refuses all further work (Broken), and only a new start, which reads what
// is really there, goes on.
type Store struct {
	db   *bbolt.DB
	keys *seal.Keys

	broken    chan struct{}
	breakOnce sync.Once

	leases leases
	run    int64 // how often the file was opened
}

// Open opens or makes the file. Personal fields are sealed with keys.
//
// Errors: the file is in use by another process, is newer than this program, or
// was sealed with other keys.
func Open(path string, keys *seal.Keys) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("store: %s is in use by another hub; stop that one first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	s := &Store{db: db, keys: keys, broken: make(chan struct{})}
	if err := s.begin(); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

// begin makes the buckets and counts the opening. The count is the upper half of
// fencing tokens, so that no token of an earlier run is ever valid again.
func (s *Store) begin() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, b := range allBuckets() {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return fmt.Errorf("store: make bucket %s: %w", b, err)
			}
		}
		m := new(recordv1.Meta)
		found, err := load(tx, bucketMeta, metaKey, m)
		if err != nil {
			return err
		}
		if !found {
			m.FirstDay, m.SchemaVersion = timestamppb.Now(), schemaVersion
		}
		if m.GetSchemaVersion() > schemaVersion {
			return tooNew(m.GetSchemaVersion())
		}
		if err := s.checkKeys(tx, found); err != nil {
			return err
		}
		m.Opens++
		s.run = m.GetOpens()
		s.leases.begin(m.GetOpens())
		return save(tx, bucketMeta, metaKey, m)
	})
}

// checkKeys keeps a sealed word in the file, so that a start with the wrong key
// file fails at once and not at the first record.
func (s *Store) checkKeys(tx *bbolt.Tx, old bool) error {
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

// Close closes the file. Leases end with it; their orders are due at the next
// start.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Broken is closed when a commit failed. The process must end then.
func (s *Store) Broken() <-chan struct{} { return s.broken }

// update runs a verb in a transaction of its own. A verb's own error rolls it
// back and is returned as it is.
func (s *Store) update(ctx context.Context, verb func(*bbolt.Tx) error) error {
	select {
	case <-s.broken:
		return fault.StoreFailed.New()
	default:
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	var own error
	err := s.db.Update(func(tx *bbolt.Tx) error {
		own = verb(tx)
		return own
	})
	if err != nil && own == nil {
		s.breakOnce.Do(func() { close(s.broken) })
		return fault.StoreFailed.Wrap(fmt.Errorf("commit: %w", err))
	}
	return own
}

func (s *Store) view(ctx context.Context, verb func(*bbolt.Tx) error) error {
	select {
	case <-s.broken:
		return fault.StoreFailed.New()
	default:
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return s.db.View(verb)
}

// load reads a record; false where there is none.
func load(tx *bbolt.Tx, bucket, k []byte, m proto.Message) (bool, error) {
	v := tx.Bucket(bucket).Get(k)
	if v == nil {
		return false, nil
	}
	if err := proto.Unmarshal(v, m); err != nil {
		return false, fmt.Errorf("store: broken record in %s: %w", bucket, err)
	}
	return true, nil
}

func save(tx *bbolt.Tx, bucket, k []byte, m proto.Message) error {
	v, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("store: encode record for %s: %w", bucket, err)
	}
	if err := tx.Bucket(bucket).Put(k, v); err != nil {
		return fmt.Errorf("store: put into %s: %w", bucket, err)
	}
	return nil
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
