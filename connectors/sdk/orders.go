package sdk

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// orders runs the handler once per order id, and once more for each appeal, and
// remembers how it went. Callers that come while an order is being handled wait
// for that one run; the run goes on when they leave.
type orders struct {
	journal *journal
	handler Handler
	log     *slog.Logger
	life    context.Context // ends with the server
	timeout time.Duration   // of one run
	tasks   *sync.WaitGroup

	mu   sync.Mutex
	runs map[string]*run // by order id; only those that run now
}

// run is one call of the handler; outcome and err may be read once done is closed.
type run struct {
	digest  digest // zero where a poll asks about an order not in the journal
	appeal  int
	poll    bool // began with GetUnbind, so it never carries the order out
	done    chan struct{}
	outcome Outcome
	err     error
}

// request is RequestUnbind after its arguments were checked.
func (o *orders) request(ctx context.Context, order Order) (Outcome, error) {
	unbinder, ok := o.handler.(Unbinder)
	if !ok {
		return Outcome{}, status.Error(codes.Unimplemented, "this platform takes no unbind orders")
	}
	d := digestOf(order.ID, order.PhoneNumber)
	for {
		r, stored, err := o.join(order.ID, &d, order.Appeal, func(ctx context.Context, e entry, known bool) (Outcome, error) {
			return o.carryOut(ctx, unbinder, order, e, known)
		})
		if r == nil {
			return stored, err
		}
		if out, err := r.wait(ctx); !r.poll && r.appeal >= order.Appeal || ctx.Err() != nil {
			return out, err
		}
		// It was a GetUnbind that ran, or the order before its appeal; what that
		// came to is no answer.
	}
}

// carryOut is the run of a RequestUnbind.
func (o *orders) carryOut(ctx context.Context, u Unbinder, order Order, e entry, known bool) (Outcome, error) {
	if known && e.outcome.State != 0 && !e.appealedBy(order.Appeal) {
		out, err := o.status(ctx, order.ID)
		if !errors.Is(err, ErrUnknownOrder) {
			return out, err
		}
		return u.Unbind(ctx, order) // the handler forgot it; begin anew
	}
	if !known {
		// Taken is written down first, so that even after a crash in the
		// middle the id belongs to this number.
		if err := o.journal.put(order.ID, entry{digest: digestOf(order.ID, order.PhoneNumber), appeal: order.Appeal}); err != nil {
			return Outcome{}, err
		}
	}
	return u.Unbind(ctx, order)
}

// get is GetUnbind after its arguments were checked.
func (o *orders) get(ctx context.Context, orderID string) (Outcome, error) {
	if _, ok := o.handler.(Unbinder); !ok {
		return Outcome{}, status.Error(codes.Unimplemented, "this platform takes no unbind orders")
	}
	r, stored, err := o.join(orderID, nil, 0, func(ctx context.Context, _ entry, _ bool) (Outcome, error) {
		return o.status(ctx, orderID)
	})
	if r == nil {
		return stored, err
	}
	return r.wait(ctx)
}

// join returns the run of the order that is under way, or begins one. It
// returns no run where the journal already has the answer. d is nil for callers
// that don't name a number.
func (o *orders) join(id string, d *digest, appeal int, call func(context.Context, entry, bool) (Outcome, error)) (*run, Outcome, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.runs[id]; r != nil {
		if d != nil && r.digest != *d && r.digest != (digest{}) {
			return nil, Outcome{}, otherNumber()
		}
		return r, Outcome{}, nil
	}
	e, known := o.journal.get(id)
	_, later := o.handler.(UnbindStatuser)
	switch {
	case known && d != nil && e.digest != *d:
		return nil, Outcome{}, otherNumber()
	case known && !e.appealedBy(appeal) && (e.outcome.Final() || e.outcome.State != 0 && !later):
		return nil, e.outcome, nil
	case d == nil && !later:
		return nil, Outcome{}, notTaken()
	}
	return o.begin(id, d, max(appeal, e.appeal), e, known, call), Outcome{}, nil
}

// begin starts the run. The caller holds o.mu.
func (o *orders) begin(id string, d *digest, appeal int, e entry, known bool, call func(context.Context, entry, bool) (Outcome, error)) *run {
	r := &run{digest: e.digest, appeal: appeal, poll: d == nil, done: make(chan struct{})}
	if d != nil {
		r.digest = *d
	}
	if o.runs == nil {
		o.runs = map[string]*run{}
	}
	o.runs[id] = r
	o.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(o.life, o.timeout)
		defer cancel()
		out, err := guard(o.log, "Unbind", func() (Outcome, error) { return call(ctx, e, known) })
		if err == nil {
			out, err = o.remember(id, e, r, out)
		}
		r.outcome, r.err = out, o.public(err)
		o.mu.Lock()
		delete(o.runs, id)
		o.mu.Unlock()
		close(r.done)
	})
	return r
}

// remember writes the outcome down unless it is no step forward. An order that
// only the handler knew (its journal entry was lost with the memory) is answered
// but not written: its number is not known here.
//
// What comes of an appeal replaces the refusal that it is against.
func (o *orders) remember(id string, old entry, r *run, out Outcome) (Outcome, error) {
	if err := out.check(); err != nil {
		return Outcome{}, err
	}
	if out.Time.IsZero() {
		out.Time = time.Now()
	}
	anew := old.appealedBy(r.appeal)
	if !anew && rank(out.State) < rank(old.outcome.State) {
		return old.outcome, nil
	}
	if r.digest == (digest{}) || !anew && out.State == old.outcome.State && out.URL == old.outcome.URL {
		return out, nil
	}
	return out, o.journal.put(id, entry{digest: r.digest, appeal: r.appeal, outcome: out})
}

func (o *orders) status(ctx context.Context, orderID string) (Outcome, error) {
	asker, ok := o.handler.(UnbindStatuser)
	if !ok {
		return Outcome{}, ErrUnknownOrder
	}
	return asker.UnbindStatus(ctx, orderID)
}

// public is the error as callers see it.
func (o *orders) public(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrUnknownOrder) {
		return notTaken()
	}
	o.log.Warn("unbind order failed", "error", err)
	return hidden(err)
}

// wait returns what the run came to, unless the caller leaves before.
func (r *run) wait(ctx context.Context) (Outcome, error) {
	select {
	case <-r.done:
		return r.outcome, r.err
	case <-ctx.Done():
		return Outcome{}, status.FromContextError(ctx.Err()).Err()
	}
}

func otherNumber() error {
	return status.Error(codes.AlreadyExists, "order_id: came before with another number")
}

func notTaken() error {
	return status.Error(codes.NotFound, "order_id: this order was never taken")
}

// RequestUnbind implements the contract.
func (s *service) RequestUnbind(ctx context.Context, req *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	order, err := parseOrder(req)
	if err != nil {
		return nil, err
	}
	out, err := s.orders.request(ctx, order)
	if err != nil {
		return nil, err
	}
	return &connectorv1.RequestUnbindResponse{Result: out.proto()}, nil
}

// GetUnbind implements the contract.
func (s *service) GetUnbind(ctx context.Context, req *connectorv1.GetUnbindRequest) (*connectorv1.GetUnbindResponse, error) {
	if !validRef(req.GetOrderId()) {
		return nil, invalid("order_id: want 1 to 64 printable ASCII characters")
	}
	out, err := s.orders.get(ctx, req.GetOrderId())
	if err != nil {
		return nil, err
	}
	return &connectorv1.GetUnbindResponse{Result: out.proto()}, nil
}

func parseOrder(req *connectorv1.RequestUnbindRequest) (Order, error) {
	o := Order{
		ID: req.GetOrderId(), PhoneNumber: req.GetPhoneNumber(), AccountRefs: req.GetAccountRefs(),
		Reason: req.GetReason(), Attempt: int(req.GetAttempt()), Appeal: int(req.GetAppeal()),
	}
	switch {
	case !validRef(o.ID):
		return Order{}, invalid("order_id: want 1 to 64 printable ASCII characters")
	case !validPhone(o.PhoneNumber):
		return Order{}, invalid("phone_number: want a mainland mobile number in E.164")
	case len(o.AccountRefs) < 1 || len(o.AccountRefs) > maxAccounts:
		return Order{}, invalid("account_refs: want 1 to %d", maxAccounts)
	case req.GetBoundBefore() != nil && req.GetBoundBefore().CheckValid() != nil:
		return Order{}, invalid("bound_before: want a valid time")
	case o.Attempt < 0:
		return Order{}, invalid("attempt: want a positive number")
	case o.Appeal < 0:
		return Order{}, invalid("appeal: want 0 or a positive number")
	}
	for i, ref := range o.AccountRefs {
		if !validRef(ref) {
			return Order{}, invalid("account_refs[%d]: want 1 to 64 bytes of printable ASCII", i)
		}
	}
	if t := req.GetBoundBefore(); t != nil {
		o.BoundBefore = t.AsTime()
	}
	if t := req.GetDueTime(); t.CheckValid() == nil {
		o.Due = t.AsTime()
	}
	return o, nil
}
