package bolt

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.Queue = (*Store)(nil)

// Enqueue implements unbind.Queue. Orders are sealed before the transaction, since
// all other writers wait while a verb runs.
func (s *Store) Enqueue(ctx context.Context, e unbind.Enqueue) ([]unbind.Placed, error) {
	made, err := s.newOrders(e.Items)
	if err != nil {
		return nil, err
	}
	var placed []unbind.Placed
	err = s.db.Update(ctx, func(tx *group.Tx) error {
		before, err := repeated(tx, e.RequestKey, e.BodyDigest, e.Now)
		if err != nil {
			return err
		}
		if before != nil {
			placed, err = s.placedBefore(tx, before)
			return err
		}
		placed, err = s.place(tx, e, made)
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

// newOrders makes the change of every item that has an order.
func (s *Store) newOrders(items []unbind.Item) ([]change, error) {
	all := make([]change, len(items))
	for i, item := range items {
		if item.Order == nil {
			continue
		}
		item.Order.Run = s.run
		var err error
		if all[i], err = s.newOrder(*item.Order); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func requestRecord(e unbind.Enqueue, placed []unbind.Placed) *recordv1.Request {
	r := &recordv1.Request{BodyDigest: e.BodyDigest[:]}
	for _, p := range placed {
		r.Unbinds = append(r.Unbinds, &recordv1.RequestUnbind{PlatformId: string(p.Platform), OrderId: p.Order.ID, ErrorReason: string(p.Reason)})
	}
	return r
}

func (s *Store) placedBefore(tx *group.Tx, r *recordv1.Request) ([]unbind.Placed, error) {
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

// place makes the orders that can be made; orders are those of the items. The
// daily limit refuses single orders; it is an error of the whole request only
// when none could be made.
func (s *Store) place(tx *group.Tx, e unbind.Enqueue, orders []change) ([]unbind.Placed, error) {
	had, end, err := used(tx, countOrders, e.NumberIndex[:], e.Now)
	if err != nil {
		return nil, err
	}
	made, refused, standing := 0, 0, 0
	var placed []unbind.Placed
	for i, item := range e.Items {
		p := unbind.Placed{Platform: item.Platform, Reason: item.Reason}
		switch open, err := s.standing(tx, e.Subject, item); {
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
			if err := orders[i].write(tx); err != nil {
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

// standing finds the open order that stands for the item, the newest where
// there are several.
func (s *Store) standing(tx *group.Tx, subject phone.Subject, item unbind.Item) (*unbind.Order, error) {
	if item.Order == nil {
		return nil, nil
	}
	c := tx.Bucket(bucketOrdersOf).Cursor()
	for k, at := seekBelow(c, subject[:], ""); bytes.HasPrefix(k, subject[:]); k, at = c.Prev() {
		if string(at) != string(item.Platform) {
			continue
		}
		o, err := s.getOrder(tx, string(k[len(subject):]))
		if err != nil {
			return nil, err
		}
		if !o.State.Final() && o.Covers(item.Order.AccountRefs) {
			return &o, nil
		}
	}
	return nil, nil
}

// Claim implements unbind.Queue. The lock is held over a read transaction, which
// waits for nobody: an order is seen and leased in one step.
func (s *Store) Claim(ctx context.Context, r unbind.ClaimRequest) ([]unbind.Claim, time.Time, error) {
	var claims []unbind.Claim
	var next time.Time
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	err := s.db.View(ctx, func(tx *group.Tx) error {
		due, n := s.due(tx, r)
		next = n
		claims = make([]unbind.Claim, len(due))
		for i, d := range due {
			l := lease{until: r.Now.Add(r.Lease), platform: d.order.Platform, raw: d.raw}
			claims[i] = unbind.Claim{Order: *d.order, Until: l.until, Token: s.leases.takeLocked(d.order.ID, l)}
		}
		return nil
	})
	return claims, next, err
}

// dueEntry is an order that is due, small enough to be sorted.
type dueEntry struct {
	next  int64 // as the key has it
	order *unbind.Order
	raw   []byte
}

// due lists what may be claimed, oldest first over all platforms, and when the
// next order is due of those platforms that have room left.
func (s *Store) due(tx *group.Tx, r unbind.ClaimRequest) ([]dueEntry, time.Time) {
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
	slices.SortStableFunc(due, func(a, b dueEntry) int { return cmp.Compare(a.next, b.next) })
	if len(due) > r.Max {
		due, next = due[:r.Max], r.Now
	}
	return due, next
}

func (s *Store) dueAt(tx *group.Tx, p []byte, room int, now time.Time) ([]dueEntry, time.Time) {
	var due []dueEntry
	prefix := key(p, zero)
	c := tx.Bucket(bucketOrdersDue).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		at, id := keyTime(k[len(prefix):]), string(k[len(prefix)+8:])
		if at.After(now) {
			return due, at
		}
		if !s.leases.freeLocked(id, now) {
			continue
		}
		if len(due) == room {
			return due, time.Time{} // an attempt that ends makes room and wakes
		}
		raw := bytes.Clone(tx.Bucket(bucketOrders).Get([]byte(id)))
		o, err := s.openOrder(id, raw)
		if err != nil {
			continue // a check of the file names it; it takes no place of the others
		}
		due = append(due, dueEntry{next: at.UnixNano(), order: &o, raw: raw})
	}
	return due, time.Time{}
}

// Extend implements unbind.Queue.
func (s *Store) Extend(_ context.Context, c unbind.Claim, until time.Time) (unbind.Claim, error) {
	if !s.leases.extend(c.Order.ID, c.Token, s.clock.Now(), until) {
		return unbind.Claim{}, fault.LeaseLost.New()
	}
	c.Until = until
	return c, nil
}

// Finish implements unbind.Queue.
func (s *Store) Finish(ctx context.Context, c unbind.Claim, t unbind.Transition) (unbind.Order, error) {
	raw, ok := s.leases.pin(c.Order.ID, c.Token, s.clock.Now())
	if !ok {
		return unbind.Order{}, fault.LeaseLost.New()
	}
	var done change
	ended := false
	defer func() {
		if ended {
			s.leases.drop(c.Order.ID, done.after.Sent || done.after.State.Final())
		} else { // by an error or a panic: its holder may try again
			s.leases.unpin(c.Order.ID)
		}
	}()
	var err error
	done, err = s.transit(ctx, c.Order.ID, raw, t, nil)
	ended = err == nil
	return done.after, err
}

// Release implements unbind.Queue.
func (s *Store) Release(_ context.Context, claims []unbind.Claim) {
	for _, c := range claims {
		s.leases.release(c.Order.ID, c.Token)
	}
}

// Report implements unbind.Queue.
func (s *Store) Report(ctx context.Context, p platform.ID, id string, t unbind.Transition) (unbind.Order, bool, error) {
	c, err := s.transit(ctx, id, nil, t, func(o unbind.Order) error {
		if o.Platform != p {
			return fault.UnbindNotFound.New()
		}
		return nil
	})
	return s.shown(c.after, s.clock.Now()), c.moved, err
}

// Cancel implements unbind.Orders. The order is kept from being claimed until the
// cancellation is on disk; who comes second sees what the first one wrote.
func (s *Store) Cancel(ctx context.Context, subject phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	o, err := s.Order(ctx, subject, id)
	if err != nil {
		return unbind.Order{}, err
	}
	if err := s.mayCancel(o); err != nil { // before a claim would pass it by for nothing
		return unbind.Order{}, err
	}
	if !s.leases.keep(id) {
		return unbind.Order{}, fault.AlreadySent.New()
	}
	defer s.leases.letGo(id)
	c, err := s.transit(ctx, id, nil, t, s.mayCancel)
	return c.after, err
}

// mayCancel is nil where the person may take the order back. One of an earlier
// run may have been sent when that run ended, which the disk does not know of.
func (s *Store) mayCancel(o unbind.Order) error {
	switch {
	case o.State.Final():
		return fault.AlreadyTerminal.New()
	case o.State != unbind.Queued || o.Sent || o.Run != s.run:
		return fault.AlreadySent.New()
	}
	return nil
}
