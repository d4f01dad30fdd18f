package bolt

import (
	"bytes"
	"context"
	"slices"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// What a lookup's index entries are follows from its record, so that they never
// disagree: whoever replaces the record moves them.

// wakesOf is what is indexed of a lookup as it is on disk. One that still runs
// has its whole in the index and nothing else, which is seen without the key.
func (s *Store) wakesOf(id string, r *recordv1.Lookup) ([]lookup.Wake, error) {
	switch {
	case r.GetWakeTime() == nil:
		return nil, nil
	case !r.GetComplete():
		return []lookup.Wake{{Time: moment(r.GetWakeTime())}}, nil
	}
	l, err := s.lookupFrom(id, r)
	return l.Wakes(), err
}

func moveWakes(tx *group.Tx, id string, before, after []lookup.Wake) error {
	b := tx.Bucket(bucketReasks)
	for _, w := range before {
		if indexed(after, w) {
			continue
		}
		if err := b.Delete(wakeKey(id, w)); err != nil {
			return err
		}
	}
	for _, w := range after {
		if indexed(before, w) {
			continue
		}
		if err := b.Put(wakeKey(id, w), nil); err != nil {
			return err
		}
	}
	return nil
}

// dropWakes takes a lookup that is about to go out of the index. It is there only
// where the hub was stopped when the lookup's time was over; the entries of a
// platform that does not come back would else stay for ever. A record that can't
// be read goes all the same, and leaves its entries to DueReasks.
func (s *Store) dropWakes(tx *group.Tx, bucket, k []byte) error {
	if !bytes.Equal(bucket, bucketLookups) {
		return nil
	}
	r := new(recordv1.Lookup)
	var wakes []lookup.Wake
	if found, err := load(tx, bucketLookups, k, r); err == nil && found {
		wakes, _ = s.wakesOf(string(k), r)
	}
	return moveWakes(tx, string(k), wakes, nil)
}

func indexed(all []lookup.Wake, w lookup.Wake) bool {
	return slices.ContainsFunc(all, func(x lookup.Wake) bool { return x.Platform == w.Platform && x.Time.Equal(w.Time) })
}

func wakeKey(id string, w lookup.Wake) []byte {
	return key([]byte(w.Platform), zero, timeKey(w.Time), []byte(id))
}

// DueReasks implements lookup.Store. Entries that belong to no lookup any more are
// deleted.
func (s *Store) DueReasks(ctx context.Context, r lookup.DueRequest) ([]lookup.Due, time.Time, error) {
	w := dueWalk{s: s, r: r, at: make(map[string]int)}
	if err := s.db.View(ctx, w.walk); err != nil || len(w.stale) == 0 {
		return w.due, w.next, err
	}
	return w.due, w.next, s.db.Update(ctx, func(tx *group.Tx) error {
		for _, k := range w.stale {
			if err := tx.Bucket(bucketReasks).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// dueWalk is one walk over the index, platform by platform.
type dueWalk struct {
	s     *Store
	r     lookup.DueRequest
	due   []lookup.Due
	at    map[string]int // where in due a lookup is
	next  time.Time
	stale [][]byte
}

func (w *dueWalk) walk(tx *group.Tx) error {
	c := tx.Bucket(bucketReasks).Cursor()
	for k, _ := c.First(); k != nil; {
		p, _, _ := bytes.Cut(k, zero)
		p = bytes.Clone(p)
		if room := w.r.Free(platform.ID(p)); room > 0 {
			if err := w.platform(tx, c, k, p, room); err != nil {
				return err
			}
		}
		k, _ = c.Seek(key(p, []byte{1})) // the next platform: none has a byte this low in its id
	}
	w.due = slices.DeleteFunc(w.due, func(d lookup.Due) bool { return len(d.Platforms) == 0 })
	return nil
}

// platform takes what is due of one platform, whose first key is k.
func (w *dueWalk) platform(tx *group.Tx, c group.Cursor, k, p []byte, room int) error {
	prefix := key(p, zero)
	for ; bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		at, id := keyTime(k[len(prefix):]), string(k[len(prefix)+8:])
		if !at.After(w.r.Now) && w.r.Busy(id) {
			continue
		}
		if at.After(w.r.Now) || room == 0 {
			if w.next.IsZero() || at.Before(w.next) {
				w.next = at
			}
			return nil
		}
		taken, err := w.take(tx, id, lookup.Wake{Platform: platform.ID(p), Time: at})
		if err != nil {
			return err
		}
		if !taken {
			w.stale = append(w.stale, bytes.Clone(k))
			continue
		}
		room--
	}
	return nil
}

// take adds a lookup to what is due; false where the entry isn't of its record.
func (w *dueWalk) take(tx *group.Tx, id string, wake lookup.Wake) (bool, error) {
	i, known := w.at[id]
	if !known {
		r := new(recordv1.Lookup)
		found, err := load(tx, bucketLookups, []byte(id), r)
		if err != nil || !found {
			return false, err
		}
		l, err := w.s.lookupFrom(id, r)
		if err != nil {
			return false, err
		}
		i = len(w.due)
		w.due = append(w.due, lookup.Due{Lookup: l})
		w.at[id] = i
	}
	d := &w.due[i]
	if !indexed(d.Lookup.Wakes(), wake) {
		return false, nil
	}
	d.Platforms = append(d.Platforms, wake.Platform)
	return true, nil
}

// MergeLate implements lookup.Store.
func (s *Store) MergeLate(ctx context.Context, r lookup.Round) (lookup.Lookup, error) {
	return s.changeLookup(ctx, r.LookupID, func(_ *group.Tx, l lookup.Lookup) (lookup.Lookup, error) {
		return r.Apply(l), nil
	})
}

// ClaimMessage implements lookup.Store.
func (s *Store) ClaimMessage(ctx context.Context, m lookup.Message) (bool, error) {
	granted := false
	_, err := s.changeLookup(ctx, m.LookupID, func(tx *group.Tx, l lookup.Lookup) (lookup.Lookup, error) {
		granted = false
		if !l.OwesMessage() {
			return l, nil
		}
		n, _, err := used(tx, countLate, m.NumberIndex[:], m.Now)
		if err != nil || m.PerDay > 0 && n >= m.PerDay {
			return l.Claimed(), err
		}
		granted = true
		return l.Claimed(), count(tx, countLate, m.NumberIndex[:], m.Now, day, 1)
	})
	return granted && err == nil, err
}

// changeLookup replaces a lookup by what change makes of it and returns that; the
// zero Lookup where it is gone.
func (s *Store) changeLookup(ctx context.Context, id string, change func(*group.Tx, lookup.Lookup) (lookup.Lookup, error)) (lookup.Lookup, error) {
	var l lookup.Lookup
	err := s.db.Update(ctx, func(tx *group.Tx) error {
		r := new(recordv1.Lookup)
		found, err := load(tx, bucketLookups, []byte(id), r)
		if err != nil || !found {
			return err
		}
		if l, err = s.lookupFrom(id, r); err != nil {
			return err
		}
		before := l.Wakes()
		if l, err = change(tx, l); err != nil {
			return err
		}
		if err := moveWakes(tx, id, before, l.Wakes()); err != nil {
			return err
		}
		record, err := s.lookupRecord(l)
		if err != nil {
			return err
		}
		return save(tx, bucketLookups, []byte(l.ID), record)
	})
	return l, err
}
