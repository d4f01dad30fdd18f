package bolt

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	bbolt "go.etcd.io/bbolt"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.Queue = (*Store)(nil)

// Enqueue implements unbind.Queue.
func (s *Store) Enqueue(ctx context.Context, e unbind.Enqueue) ([]unbind.Placed, error) {
	var placed []unbind.Placed
	err := s.update(ctx, func(tx *bbolt.Tx) error {
		before, err := repeated(tx, e.RequestKey, e.BodyDigest, e.Now)
		if err != nil {
			return err
		}
		if before != nil {
			placed, err = s.placedBefore(tx, before)
			return err
		}
		placed, err = s.place(tx, e)
		if err != nil {
			return err
		}
		return remember(tx, e.RequestKey, e.Now, requestRecord(e, placed))
	})
	for i := range placed {
		placed[i].Order = s.shown(placed[i].Order, e.Now)
	}
	return placed, err
}

func requestRecord(e unbind.Enqueue, placed []unbind.Placed) *recordv1.Request {
	r := &recordv1.Request{BodyDigest: e.BodyDigest[:]}
	for _, p := range placed {
		r.Unbinds = append(r.Unbinds, &recordv1.RequestUnbind{PlatformId: string(p.Platform), OrderId: p.Order.ID, ErrorReason: string(p.Reason)})
	}
	return r
}

func (s *Store) placedBefore(tx *bbolt.Tx, r *recordv1.Request) ([]unbind.Placed, error) {
	var placed []unbind.Placed
	for _, u := range r.GetUnbinds() {
		p := unbind.Placed{Platform: platform.ID(u.GetPlatformId()), Reason: fault.Reason(u.GetErrorReason())}
		if u.GetOrderId() != "" {
			var err error
			if p.Order, err = s.getOrder(tx, u.GetOrderId()); err != nil {
				return nil, err
			}
		}
		placed = append(placed, p)
	}
	return placed, nil
}

// place makes the orders that can be made. The daily limit refuses single
// orders; it is an error of the whole request only when none could be made.
func (s *Store) place(tx *bbolt.Tx, e unbind.Enqueue) ([]unbind.Placed, error) {
	had, end, err := used(tx, countOrders, e.NumberIndex[:], e.Now)
	if err != nil {
		return nil, err
	}
	made, refused, standing := 0, 0, 0
	var placed []unbind.Placed
	for _, item := range e.Items {
		p := unbind.Placed{Platform: item.Platform, Reason: item.Reason}
		switch open, err := s.openOrder(tx, e.Subject, item); {
		case err != nil:
			return nil, err
		case item.Order == nil:
		case open != nil:
			p.Order = *open
			standing++
		case e.DailyLimit > 0 && had+made >= e.DailyLimit:
			p.Reason = fault.DailyLimit
			refused++
		default:
			item.Order.Run = s.run
			if err := s.putOrder(tx, unbind.Order{}, *item.Order); err != nil {
				return nil, err
			}
			p.Order = *item.Order
			made++
		}
		placed = append(placed, p)
	}
	if refused > 0 && made+standing == 0 {
		return nil, fault.DailyLimit.New().WithRetry(end.Sub(e.Now))
	}
	if made == 0 {
		return placed, nil
	}
	return placed, count(tx, countOrders, e.NumberIndex[:], e.Now, day, made)
}

// openOrder finds the open order that stands for the item.
func (s *Store) openOrder(tx *bbolt.Tx, subject phone.Subject, item unbind.Item) (*unbind.Order, error) {
	if item.Order == nil {
		return nil, nil
	}
	id := tx.Bucket(bucketOrdersOpen).Get(key(subject[:], []byte(item.Platform)))
	if id == nil {
		return nil, nil
	}
	o, err := s.getOrder(tx, string(id))
	if err != nil || !o.Covers(item.Order.AccountRefs) {
		return nil, err
	}
	return &o, nil
}

// Claim implements unbind.Queue. The lock is held over a read transaction, which
// waits for nobody: an order is seen and leased in one step.
func (s *Store) Claim(ctx context.Context, r unbind.ClaimRequest) ([]unbind.Claim, time.Time, error) {
	var claims []unbind.Claim
	var next time.Time
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		due, n := s.due(tx, r)
		next = n
		for _, d := range due {
			o, err := s.getOrder(tx, d.id)
			if err != nil {
				return err
			}
			until := r.Now.Add(r.Lease)
			claims = append(claims, unbind.Claim{Order: o, Until: until, Token: s.leases.takeLocked(o.ID, o.Platform, until)})
		}
		return nil
	})
	return claims, next, err
}

type dueEntry struct {
	next time.Time
	id   string
}

// due lists what may be claimed, oldest first over all platforms, and when the
// next order is due of those platforms that have room left.
func (s *Store) due(tx *bbolt.Tx, r unbind.ClaimRequest) ([]dueEntry, time.Time) {
	var due []dueEntry
	var next time.Time
	c := tx.Bucket(bucketOrderTallies).Cursor()
	for p, _ := c.First(); p != nil; p, _ = c.Next() {
		room := min(r.Free(platform.ID(p)), r.Max)
		if room <= 0 {
			continue
		}
		entries, n := s.dueAt(tx, p, room, r.Now)
		due = append(due, entries...)
		if !n.IsZero() && (next.IsZero() || n.Before(next)) {
			next = n
		}
	}
	slices.SortStableFunc(due, func(a, b dueEntry) int { return a.next.Compare(b.next) })
	if len(due) > r.Max {
		due, next = due[:r.Max], r.Now
	}
	return due, next
}

func (s *Store) dueAt(tx *bbolt.Tx, p []byte, room int, now time.Time) ([]dueEntry, time.Time) {
	var due []dueEntry
	prefix := key(p, zero)
	c := tx.Bucket(bucketOrdersDue).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		at, id := keyTime(k[len(prefix):]), string(k[len(prefix)+8:])
		if at.After(now) {
			return due, at
		}
		if s.leases.liveLocked(id, now) {
			continue
		}
		if len(due) == room {
			return due, time.Time{} // an attempt that ends makes room and wakes
		}
		due = append(due, dueEntry{next: at, id: id})
	}
	return due, time.Time{}
}

// Finish implements unbind.Queue.
func (s *Store) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	if !s.leases.pin(c.Order.ID, c.Token, time.Now()) {
		return unbind.Order{}, fault.LeaseLost.New()
	}
	var o unbind.Order
	err := s.update(ctx, func(tx *bbolt.Tx) error {
		var err error
		o, _, err = s.apply(tx, c.Order.ID, t)
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		s.leases.unpin(c.Order.ID)
		return unbind.Order{}, err
	}
	s.leases.drop(c.Order.ID)
	return o, nil
}

// apply moves the order on disk and reports whether its state changed.
func (s *Store) apply(tx *bbolt.Tx, id string, t unbind.Transition) (unbind.Order, bool, error) {
	before, err := s.getOrder(tx, id)
	if err != nil {
		return unbind.Order{}, false, err
	}
	o := before
	o.History = slices.Clone(before.History)
	changed := o.Apply(t)
	if reflect.DeepEqual(before, o) {
		return o, false, errUnchanged
	}
	return o, changed, s.putOrder(tx, before, o)
}

// errUnchanged rolls a transaction back that changed nothing: a report that comes
// a thousand times costs no write to the disk.
var errUnchanged = errors.New("store: nothing to write")

// Release implements unbind.Queue.
func (s *Store) Release(_ context.Context, claims []unbind.Claim) {
	for _, c := range claims {
		s.leases.release(c.Order.ID, c.Token)
	}
}

// Report implements unbind.Queue.
func (s *Store) Report(ctx context.Context, p platform.ID, id string, t unbind.Transition) (unbind.Order, bool, error) {
	var o unbind.Order
	var changed bool
	err := s.update(ctx, func(tx *bbolt.Tx) error {
		before, err := s.getOrder(tx, id)
		if err != nil {
			return err
		}
		if before.Platform != p {
			return fault.UnbindNotFound.New()
		}
		o, changed, err = s.apply(tx, id, t)
		return err
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return s.shown(o, time.Now()), changed, err
}

// Cancel implements unbind.Queue. The order is kept from being claimed until the
// cancellation is on disk. An order of an earlier run may have been sent when
// that run ended, which the disk does not know of, so it can't be cancelled.
func (s *Store) Cancel(ctx context.Context, subject phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	o, err := s.Order(ctx, subject, id)
	switch {
	case err != nil:
		return unbind.Order{}, err
	case o.State.Final():
		return unbind.Order{}, fault.AlreadyTerminal.New()
	case !s.leases.pinFree(id, time.Now()):
		return unbind.Order{}, fault.AlreadySent.New()
	}
	defer s.leases.drop(id)
	err = s.update(ctx, func(tx *bbolt.Tx) error {
		o, err = s.getOrder(tx, id)
		switch {
		case err != nil:
			return err
		case o.State.Final():
			return fault.AlreadyTerminal.New()
		case o.State != unbind.Queued || o.Sent || o.Run != s.run:
			return fault.AlreadySent.New()
		}
		o, _, err = s.apply(tx, id, t)
		return err
	})
	return o, err
}
