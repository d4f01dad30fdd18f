package bolt

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// change is a change of one order, worked out and ready to be written. An order
// lies in one record and up to three index entries; write alone puts them there,
// so that they never disagree.
//
// All other writers wait while a verb runs, so what can be done before is done
// before: reading, sealing and encoding happen on what is committed, and the verb
// only looks whether that is still so.
type change struct {
	raw           []byte       // the record it was worked out on; nil for a new order
	before, after unbind.Order // the ID of before is "" for a new order
	moved         bool         // the state changed
	record        []byte       // nil where nothing is to be written
	del, put      []entry
}

// newOrder is the change that makes an order.
func (s *Store) newOrder(o unbind.Order) (change, error) {
	sealed, err := s.sealOrder(o)
	if err != nil {
		return change{}, err
	}
	c := change{after: o, moved: true, put: entries(o)}
	c.record, err = orderRecord(o, sealed)
	return c, err
}

// plan works a transition out on a record, where may lets it: nil lets it always.
// What changes nothing writes nothing: a report that comes a thousand times costs
// no write to the disk.
func (s *Store) plan(id string, raw []byte, t unbind.Transition, may func(unbind.Order) error) (change, error) {
	r, err := decodeOrder(id, raw)
	if err != nil {
		return change{}, err
	}
	before, err := s.orderOf(id, r)
	if err != nil {
		return change{}, err
	}
	if may != nil {
		if err := may(before); err != nil {
			return change{}, err
		}
	}
	c := change{raw: raw, before: before, after: before}
	c.after.History = slices.Clone(before.History)
	c.moved = c.after.Apply(t)
	sealed := r.GetSealed()
	if !sameSecret(before, c.after) {
		if sealed, err = s.sealOrder(c.after); err != nil {
			return change{}, err
		}
	}
	if c.record, err = orderRecord(c.after, sealed); err != nil {
		return change{}, err
	}
	if bytes.Equal(c.record, c.raw) {
		c.record = nil
		return c, nil
	}
	had, has := entries(before), entries(c.after)
	c.del, c.put = without(had, has), without(has, had)
	return c, nil
}

// transit plans a transition and writes it. raw is the order's record as it was
// some time ago, nil to read it now: if the order changed since, the verb plans
// anew.
func (s *Store) transit(ctx context.Context, id string, raw []byte, t unbind.Transition, may func(unbind.Order) error) (change, error) {
	if raw == nil {
		err := s.db.View(ctx, func(tx *group.Tx) error {
			raw = bytes.Clone(tx.Bucket(bucketOrders).Get([]byte(id)))
			return nil
		})
		if err != nil {
			return change{}, err
		}
	}
	c, err := s.plan(id, raw, t, may)
	if err != nil {
		return change{}, err
	}
	err = s.db.Update(ctx, func(tx *group.Tx) error {
		if now := tx.Bucket(bucketOrders).Get([]byte(id)); !bytes.Equal(now, c.raw) {
			var err error
			if c, err = s.plan(id, bytes.Clone(now), t, may); err != nil {
				return err
			}
		}
		if c.record == nil {
			return nil
		}
		if err := c.write(tx); err != nil {
			return err
		}
		if t.HolderGone() && c.moved {
			return s.doubtHolder(tx, c.after)
		}
		return nil
	})
	return c, err
}

// doubtHolder voids what was known of the holder for the person's other open
// orders: none of them may be sent on an older word of the carrier, should that be
// out of reach from now on. A record that can't be read is never sent.
func (s *Store) doubtHolder(tx *group.Tx, ended unbind.Order) error {
	c := tx.Bucket(bucketOrdersOf).Cursor()
	var ids []string
	for k, _ := c.Seek(ended.Subject[:]); bytes.HasPrefix(k, ended.Subject[:]); k, _ = c.Next() {
		ids = append(ids, string(k[len(ended.Subject):]))
	}
	for _, id := range ids {
		raw := bytes.Clone(tx.Bucket(bucketOrders).Get([]byte(id)))
		o, err := s.openOrder(id, raw)
		if err != nil || id == ended.ID || o.State.Final() || o.HolderChecked.IsZero() {
			continue
		}
		doubted := change{raw: raw, before: o, after: o}
		doubted.after.HolderChecked = time.Time{}
		if err := s.rewrite(tx, doubted); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes a change that moves nothing.
func (s *Store) rewrite(tx *group.Tx, c change) error {
	sealed, err := s.sealOrder(c.after)
	if err != nil {
		return err
	}
	record, err := orderRecord(c.after, sealed)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketOrders).Swap([]byte(c.after.ID), c.raw, record)
}

// write writes the change. The keys of index entries hold the order's id and a
// time of it, so that they are there if and only if the record says so.
func (c change) write(tx *group.Tx) error {
	for _, e := range c.del {
		if err := tx.Bucket(e.bucket).Remove(e.key, e.value); err != nil {
			return err
		}
	}
	for _, e := range c.put {
		if err := tx.Bucket(e.bucket).PutNew(e.key, e.value); err != nil {
			return err
		}
	}
	tx.Note(moved{before: c.before, after: c.after})
	id := []byte(c.after.ID)
	if c.after.State.Final() {
		if err := expires(tx, c.after.StateTime.Add(orderLife), bucketOrders, id); err != nil {
			return err
		}
	}
	if c.raw == nil {
		return tx.Bucket(bucketOrders).PutNew(id, c.record)
	}
	return tx.Bucket(bucketOrders).Swap(id, c.raw, c.record)
}

// without returns the entries of all whose keys are not among those of others.
func without(all, others []entry) []entry {
	var out []entry
	for _, e := range all {
		if !slices.ContainsFunc(others, func(x entry) bool { return bytes.Equal(x.bucket, e.bucket) && bytes.Equal(x.key, e.key) }) {
			out = append(out, e)
		}
	}
	return out
}
