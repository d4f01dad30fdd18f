package bolt

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// expires notes that the record at bucket and key is of no more use after t.
func expires(tx *group.Tx, t time.Time, bucket, k []byte) error {
	return tx.Bucket(bucketExpiry).Put(key(timeKey(t), bucket, zero, k), nil)
}

// Sweep notes the hub's time, deletes at most limit records whose time is over and reports whether
// more are waiting. A record that was renewed meanwhile stays: its new time has
// an entry of its own.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (more bool, err error) {
	err = s.db.Update(ctx, func(tx *group.Tx) error {
		if err := s.noteTime(tx); err != nil {
			return err
		}
		due, rest := dueExpiries(tx, now, limit)
		more = rest
		for _, entry := range due {
			bucket, k, _ := bytes.Cut(entry[8:], zero)
			if renewed(tx, bucket, k, now) {
				continue
			}
			if err := s.dropWakes(tx, bucket, k); err != nil {
				return err
			}
			if err := dropEntries(tx, bucket, k); err != nil {
				return err
			}
			if err := tx.Bucket(bucket).Delete(k); err != nil {
				return err
			}
		}
		for _, entry := range due {
			if err := tx.Bucket(bucketExpiry).Delete(entry); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}

func dueExpiries(tx *group.Tx, now time.Time, limit int) (due [][]byte, more bool) {
	c := tx.Bucket(bucketExpiry).Cursor()
	for k, _ := c.First(); k != nil && keyTime(k).Before(now); k, _ = c.Next() {
		if len(due) == limit {
			return due, true
		}
		due = append(due, bytes.Clone(k))
	}
	return due, false
}

// renewed reports whether a record that can be renewed lives on.
func renewed(tx *group.Tx, bucket, k []byte, now time.Time) bool {
	var m interface {
		proto.Message
		GetExpireTime() *timestamppb.Timestamp
	}
	switch {
	case bytes.Equal(bucket, bucketOrders):
		return orderLives(tx, k, now)
	case bytes.Equal(bucket, bucketGuards):
		m = new(recordv1.NumberGuard)
	case bytes.Equal(bucket, bucketCounters):
		m = new(recordv1.Counter)
	case bytes.Equal(bucket, bucketRequests):
		m = new(recordv1.Request)
	default:
		return false
	}
	found, err := load(tx, bucket, k, m)
	return err == nil && found && moment(m.GetExpireTime()).After(now)
}

// orderLives reports whether an order is open again, or ended anew since the
// entry was made.
func orderLives(tx *group.Tx, id []byte, now time.Time) bool {
	r := new(recordv1.Order)
	found, err := load(tx, bucketOrders, id, r)
	if err == nil && !found {
		return false
	}
	o, broken := frame(string(id), r)
	if err != nil || broken != nil {
		return true // it stays for a check of the file to find, and does not keep the others
	}
	return !o.State.Final() || !o.StateTime.Add(orderLife).Before(now)
}

// dropEntries takes out the index entries of an order that goes.
func dropEntries(tx *group.Tx, bucket, id []byte) error {
	if !bytes.Equal(bucket, bucketOrders) {
		return nil
	}
	r := new(recordv1.Order)
	found, err := load(tx, bucketOrders, id, r)
	if err != nil || !found {
		return err
	}
	o, err := frame(string(id), r)
	if err != nil {
		return err
	}
	for _, e := range entries(o) {
		if err := tx.Bucket(e.bucket).Delete(e.key); err != nil {
			return err
		}
	}
	return nil
}
