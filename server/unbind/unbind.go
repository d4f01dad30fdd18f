package unbind

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/watch"
)

// Queue keeps orders and says which is next. Every method is one transaction
// and, but for those that only touch leases, durable when it returns.
type Queue interface {
	// Enqueue records the orders of a request, or returns what the same request
	// made before. An open order of the same person at the same platform that
	// covers the accounts stands for a new one.
	// Errors: fault.RequestIDReused, fault.DailyLimit.
	Enqueue(context.Context, Enqueue) ([]Placed, error)
	// Claim leases orders that are due, oldest due first, and says when the next
	// one is due among those it could lease then (zero for none). No two live
	// leases are of one order; a lease of an earlier run of the hub is void.
	// An order whose record is broken is left out and does not keep the others.
	Claim(context.Context, ClaimRequest) (claims []Claim, next time.Time, err error)
	// Extend makes a live lease last until another time.
	// Errors: fault.LeaseLost when the claim is not the order's live lease.
	Extend(ctx context.Context, c Claim, until time.Time) (Claim, error)
	// Finish applies the outcome of a claim and returns the order.
	// Errors: fault.LeaseLost when the claim is not the order's live lease.
	Finish(context.Context, Claim, Transition) (Order, error)
	// Release gives claims back untouched; their orders are due as before.
	Release(context.Context, []Claim)
	// Report applies what a platform says of its own order and reports whether
	// that changed the state. Errors: fault.UnbindNotFound.
	Report(ctx context.Context, p platform.ID, id string, t Transition) (Order, bool, error)
}

// Orders is what a person does with orders.
type Orders interface {
	// Order returns the person's order. Errors: fault.UnbindNotFound.
	Order(ctx context.Context, s phone.Subject, id string) (Order, error)
	// OrdersOf returns the person's orders, newest first, at most limit, of ids
	// below before ("" for all).
	OrdersOf(ctx context.Context, s phone.Subject, before string, limit int) ([]Order, error)
	// Cancel ends the person's order that was never sent.
	// Errors: fault.UnbindNotFound, AlreadySent, AlreadyTerminal.
	Cancel(ctx context.Context, s phone.Subject, id string, t Transition) (Order, error)
	// Appeal opens the person's refused order again; one that is appealed already
	// is returned as it is. Errors: fault.UnbindNotFound, those of MayAppeal.
	Appeal(ctx context.Context, s phone.Subject, id string, t Transition) (Order, error)
}

// DeadLetters is what an operator does with abandoned orders. Those that were
// discarded are no dead letters any more.
type DeadLetters interface {
	// DeadLetters lists dead letters by platform, the oldest first, and where to
	// go on ("" at the end).
	DeadLetters(context.Context, DeadLetterQuery) (orders []Order, next string, err error)
	// Replay opens a dead letter again. Errors: fault.UnbindNotFound, NotAbandoned.
	Replay(ctx context.Context, id string, t Transition) (Order, error)
	// Discard puts a dead letter aside. Errors: fault.UnbindNotFound, NotAbandoned.
	Discard(ctx context.Context, id string, t Transition) (Order, error)
}

// DeadLetterQuery chooses dead letters. The zero value of a field chooses all.
type DeadLetterQuery struct {
	Platform platform.ID
	Reason   string
	Before   time.Time // abandoned before
	After    string    // where the page before ended
	Limit    int       // at most so many
}

// Enqueue is a request for orders.
type Enqueue struct {
	Subject     phone.Subject
	NumberIndex phone.Index
	RequestKey  [32]byte
	BodyDigest  [32]byte
	DailyLimit  int // orders per number and 24 h; 0 for none
	Now         time.Time
	Items       []Item
}

// Item is an order to make, or why none is made for the platform. Enqueue sets
// the order's Run.
type Item struct {
	Platform platform.ID
	Order    *Order
	Reason   fault.Reason
}

// Placed is what became of an item. With a Reason there is no order.
type Placed struct {
	Platform platform.ID
	Order    Order
	Reason   fault.Reason
}

// ClaimRequest says what to lease.
type ClaimRequest struct {
	Now   time.Time
	Lease time.Duration
	Max   int
	// Free says how many more orders of a platform may be leased.
	Free func(platform.ID) int
}

// Claim is a leased order. Token grows with every claim.
type Claim struct {
	Order Order
	Token uint64
	Until time.Time
}

// Options configures a Service.
type Options struct {
	Queue       Queue
	Orders      Orders
	DeadLetters DeadLetters // for the operator's work on them
	MAC         phone.MAC
	// DueTime is when an order taken now is due.
	DueTime    func(time.Time) time.Time
	DailyLimit int
	// AllowUnattested lets orders be made by account alone where no carrier
	// attested the holder.
	AllowUnattested bool
	Logger          *slog.Logger
	Now             func() time.Time // the hub's clock, the dispatcher's too; nil: time.Now
}

// Service takes and shows orders. It is safe for concurrent use.
type Service struct {
	o       Options
	watches *watch.Set
	wake    chan struct{} // tells the dispatcher that an order is due
	drained chan struct{} // closed when no more waits last
	once    sync.Once
}

// NewService returns a Service.
func NewService(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o, watches: watch.NewSet(), wake: make(chan struct{}, 1), drained: make(chan struct{})}
}

// Request orders unbinds.
type Request struct {
	Subject     phone.Subject
	Number      phone.Number
	NumberIndex phone.Index
	HolderSince time.Time // zero where not attested
	LookupID    string
	RequestID   string
	Asked       []Asked
}

// Asked is one platform of a request, with what the lookup found there.
type Asked struct {
	Platform    platform.ID
	Joined      bool // it has joined
	Answered    bool // the platform answered in that lookup
	Unbindable  bool // it has joined and takes orders
	HolderSince time.Time
	Accounts    []platform.Account
}

// Request makes the orders, durable before it returns.
//
// Errors: fault.RequestIDReused, fault.DailyLimit when not one more order may be
// made today.
func (s *Service) Request(ctx context.Context, r Request) ([]Placed, error) {
	now := s.o.Now()
	e := Enqueue{
		Subject: r.Subject, NumberIndex: r.NumberIndex, DailyLimit: s.o.DailyLimit, Now: now,
		RequestKey: s.o.MAC.Sum("request", r.Subject[:], []byte("CreateUnbinds"), []byte(r.RequestID)),
		BodyDigest: s.bodyDigest(r),
	}
	for _, a := range r.Asked {
		e.Items = append(e.Items, s.item(r, a, now))
	}
	placed, err := s.o.Queue.Enqueue(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	s.Wake()
	return placed, nil
}

func (s *Service) bodyDigest(r Request) [32]byte {
	parts := [][]byte{[]byte(r.LookupID)}
	for _, a := range r.Asked {
		parts = append(parts, []byte(a.Platform))
	}
	return s.o.MAC.Sum("body", parts...)
}

// item decides whether an order can be made, and which accounts it detaches:
// only those that were bound before the person held the number.
func (s *Service) item(r Request, a Asked, now time.Time) Item {
	i := Item{Platform: a.Platform}
	attested := !r.HolderSince.IsZero()
	refs := detachable(a, r.HolderSince)
	switch {
	case !a.Joined:
		i.Reason = fault.UnbindUnsupported
	case !a.Answered:
		i.Reason = fault.NotLookedUp
	case !attested && !s.o.AllowUnattested:
		i.Reason = fault.HolderUnattested
	case len(refs) == 0:
		i.Reason = fault.NothingToUnbind
	case !a.Unbindable:
		i.Reason = fault.UnbindUnsupported
	default:
		o := New(seal.NewID(now), now, s.o.DueTime(now), Order{
			Platform: a.Platform, Subject: r.Subject, NumberIndex: r.NumberIndex, Number: r.Number,
			AccountRefs: refs, BoundBefore: r.HolderSince, HolderChecked: now,
		})
		i.Order = &o
	}
	return i
}

// detachable picks the accounts bound before the holder. The split must have
// been made for the very date the order will carry. Where nothing is attested
// there is no split, and every account is picked.
func detachable(a Asked, holderSince time.Time) []string {
	var refs []string
	for _, account := range a.Accounts {
		before := account.Period == platform.BeforeHolder && a.HolderSince.Equal(holderSince)
		if before || holderSince.IsZero() {
			refs = append(refs, account.Ref)
		}
	}
	return refs
}

// Report takes a platform's word about its order and says whether it changed
// the state.
//
// Errors: fault.UnbindNotFound.
func (s *Service) Report(ctx context.Context, p platform.ID, id string, r platform.Report) (Order, bool, error) {
	now := s.o.Now()
	o, changed, err := s.o.Queue.Report(ctx, p, id, Reported(now, r, NextPoll(now, 0, r.CheckAfter)))
	if err != nil {
		return Order{}, false, fmt.Errorf("report: %w", err)
	}
	if changed {
		s.watches.Changed(id)
	}
	return o, changed, nil
}

// Cancel takes back the person's order.
//
// Errors: fault.UnbindNotFound, AlreadySent, AlreadyTerminal.
func (s *Service) Cancel(ctx context.Context, subject phone.Subject, id string) (Order, error) {
	o, err := s.o.Orders.Cancel(ctx, subject, id, CancelledByPerson(s.o.Now()))
	if err != nil {
		return Order{}, fmt.Errorf("cancel: %w", err)
	}
	s.watches.Changed(id)
	return o, nil
}

// Appeal opens the person's refused order again, due anew. nth says which appeal
// this is, from 1: an order that was appealed so often already is returned as it
// is, so that a repeat, whose first answer was lost, is never a second appeal. 0
// stands for the next one.
//
// Errors: fault.UnbindNotFound, those of MayAppeal.
func (s *Service) Appeal(ctx context.Context, subject phone.Subject, id string, nth int) (Order, error) {
	if nth != 0 {
		o, err := s.o.Orders.Order(ctx, subject, id)
		switch {
		case err != nil || o.Appeals >= nth:
			return o, err
		case nth > MaxAppeals:
			return Order{}, fault.AppealLimit.New()
		case nth > o.Appeals+1:
			return Order{}, fault.NotRefused.New() // nobody has decided on the appeal before
		}
	}
	now := s.o.Now()
	o, err := s.o.Orders.Appeal(ctx, subject, id, AppealedByPerson(now, s.o.DueTime(now)))
	if err != nil {
		return Order{}, fmt.Errorf("appeal: %w", err)
	}
	s.watches.Changed(id)
	s.Wake()
	return o, nil
}

// List returns the person's orders, newest first.
func (s *Service) List(ctx context.Context, subject phone.Subject, before string, limit int) ([]Order, error) {
	return s.o.Orders.OrdersOf(ctx, subject, before, limit)
}

// Wait returns the person's order at its next change of state, at the end of
// wait, or at once if it has ended or wait is 0.
//
// Errors: fault.UnbindNotFound, or the context's.
func (s *Service) Wait(ctx context.Context, subject phone.Subject, id string, wait time.Duration) (Order, error) {
	changed, stop := s.watches.Watch(id)
	defer stop()
	o, err := s.o.Orders.Order(ctx, subject, id)
	if err != nil || wait <= 0 || o.State.Final() {
		return o, err
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-changed:
	case <-timeout.C:
	case <-s.drained:
	case <-ctx.Done():
		return Order{}, context.Cause(ctx)
	}
	return s.o.Orders.Order(ctx, subject, id)
}

// Drain lets whoever waits for an order have it as it is.
func (s *Service) Drain() { s.once.Do(func() { close(s.drained) }) }

// Wake makes the dispatcher look for due orders: after an enqueue, and when a
// platform joins or comes back.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Covers reports whether the order detaches all of refs.
func (o Order) Covers(refs []string) bool {
	for _, r := range refs {
		if !slices.Contains(o.AccountRefs, r) {
			return false
		}
	}
	return true
}
