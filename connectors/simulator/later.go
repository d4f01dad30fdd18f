package simulator

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// reportFor is how long a report is tried; after that the hub's own asking does.
const reportFor = 5 * time.Minute

// later carries orders out some time after they were taken. What it has taken
// is in memory only: after a restart an order is either an effect already, or
// unknown, and then the hub sends it again.
type later struct {
	base
	life     context.Context // ends with the server
	reporter Reporter        // may be nil
	first    sdk.Outcome     // what an order is answered with
	steps    []step
	urlBase  string // of the page of an order; empty without one
	tasks    sync.WaitGroup

	mu     sync.Mutex
	orders map[string]*tracked
}

// step is a state reached some time after the one before.
type step struct {
	after time.Duration
	state sdk.UnbindState
}

// tracked is an order on its way; outcome is guarded by later.mu.
type tracked struct {
	outcome sdk.Outcome
	visited chan struct{} // closed by visit, once
	left    bool          // whether visit may still close it
}

func newLater(life context.Context, b base, spec Spec, r Reporter) *later {
	l := &later{base: b, life: life, reporter: r, orders: map[string]*tracked{}}
	if spec.Behaviour == Redirecting {
		l.urlBase = "https://" + hostOf(spec.ID) + ".example/unbind/"
		l.steps = []step{{spec.VisitAfter, sdk.StateCompleted}}
		return l
	}
	l.first = sdk.Accepted()
	l.steps = []step{{spec.ReviewAfter, sdk.StateInReview}, {spec.CompleteAfter, sdk.StateCompleted}}
	return l
}

// hostOf makes a host name's label of an id.
func hostOf(id string) string {
	label := []byte(id)
	for i, c := range label {
		if c == '.' || c == '_' || c == '-' && (i == 0 || i == len(label)-1) {
			label[i] = 'x'
		}
	}
	return string(label)
}

// Unbind implements sdk.Unbinder.
func (l *later) Unbind(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
	if _, done := l.data.Effect(l.id, o.ID); done {
		return l.carryOut(o) // waits until it is on disk
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.orders[o.ID]; t != nil {
		return t.outcome, nil
	}
	t := &tracked{outcome: l.first, visited: make(chan struct{}), left: true}
	if l.urlBase != "" {
		t.outcome = sdk.ActionRequired(l.urlBase + url.PathEscape(o.ID))
	}
	t.outcome.Time = time.Now()
	t.outcome.CheckAfter = max(l.steps[0].after, time.Second)
	l.orders[o.ID] = t
	l.tasks.Go(func() { l.follow(o, t) })
	return t.outcome, nil
}

// UnbindStatus implements sdk.UnbindStatuser.
func (l *later) UnbindStatus(_ context.Context, orderID string) (sdk.Outcome, error) {
	l.mu.Lock()
	t := l.orders[orderID]
	var out sdk.Outcome
	if t != nil {
		out = t.outcome
	}
	l.mu.Unlock()
	if t != nil {
		return out, nil
	}
	if _, done := l.data.Effect(l.id, orderID); done {
		return sdk.Completed(), nil
	}
	return sdk.Outcome{}, sdk.ErrUnknownOrder
}

// follow takes the order through its steps.
func (l *later) follow(o sdk.Order, t *tracked) {
	for i, s := range l.steps {
		if pause(l.life, s.after, t.visited) != nil {
			return
		}
		out := sdk.Outcome{State: s.state}
		if s.state == sdk.StateCompleted {
			var err error
			if out, err = l.carryOut(o); err != nil {
				return // the disk failed; the order stays where it is until a restart
			}
		} else if i+1 < len(l.steps) {
			out.CheckAfter = max(l.steps[i+1].after, time.Second)
		}
		out.Time = time.Now()
		l.mu.Lock()
		t.outcome = out
		l.mu.Unlock()
		l.report(o.ID, out)
	}
}

// report tells the hub without holding the order up: a hub that is away gets
// the reports later, perhaps out of order, which it must bear.
func (l *later) report(orderID string, out sdk.Outcome) {
	if l.reporter == nil {
		return
	}
	l.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(l.life, reportFor)
		defer cancel()
		// A report that fails for good is no loss: the hub asks with GetUnbind.
		_, _ = l.reporter.Report(ctx, orderID, out)
	})
}

// visit is Server.Visit.
func (l *later) visit(orderID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.orders[orderID]
	if t == nil || !t.left || t.outcome.Final() {
		return false
	}
	t.left = false
	close(t.visited)
	return true
}
