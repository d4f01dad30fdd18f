//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tongcha/tongcha/connectors/sdk"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/pki"
)

// manner is how a platform goes about orders.
type manner string

// The manners. All but refusing carry every order out in the end.
const (
	prompt      manner = "prompt"      // effect, then the answer at once
	slow        manner = "slow"        // takes its time before the effect and after it
	crowded     manner = "crowded"     // so slow that orders queue up at the hub
	flapping    manner = "flapping"    // fails before or after the effect, or asks to come back
	later       manner = "later"       // takes the order; reports often, shuffled and late
	reticent    manner = "reticent"    // takes the order; never reports, has to be asked
	redirecting manner = "redirecting" // the person has to go to a page; then it reports
	refusing    manner = "refusing"
)

func manners() []manner {
	return []manner{prompt, slow, crowded, flapping, later, reticent, redirecting, refusing}
}

// witness is a platform that outlives the hubs and knows what it did.
type witness struct {
	a       *arena
	manner  manner
	id      string
	server  *sdk.Server
	creds   sdk.Credentials
	reports *reports

	mu      sync.Mutex
	effects map[string]bool // by order; written down
	taken   map[string]*sdk.Outcome
	fails   map[string]int // by order
	callers map[string]int // the run of the hub that called last, by order
}

// startWitness serves a platform until the test ends.
func (a *arena) startWitness(m manner) *witness {
	t := a.t
	t.Helper()
	w := &witness{a: a, manner: m, id: "p-" + string(m), effects: make(map[string]bool), taken: make(map[string]*sdk.Outcome), fails: make(map[string]int), callers: make(map[string]int)}
	w.creds = a.credentials(pki.RolePlatform, w.id)
	w.reports = &reports{w: w}
	mode := sdk.ModeSync
	var handler sdk.Handler = w
	switch m {
	case later, reticent:
		mode, handler = sdk.ModeAsync, asked{w}
	case redirecting:
		mode, handler = sdk.ModeRedirect, asked{w}
	}
	var err error
	w.server, err = sdk.New(sdk.Config{
		PlatformID: w.id, Address: "127.0.0.1:0", Credentials: w.creds, UnbindMode: mode,
		OrderJournal: filepath.Join(a.dir, w.id+".ndjson"), Logger: slog.New(slog.DiscardHandler),
		Interceptors: []grpc.UnaryServerInterceptor{w.watch}, DrainTimeout: time.Second,
	}, handler)
	if err != nil {
		t.Fatal(err)
	}
	a.serve(w.id, w.server.Run)
	return w
}

func (w *witness) address() string { return w.server.Addr().(*net.TCPAddr).String() }

// watch notes when calls about orders begin and end.
func (w *witness) watch(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	call := record{What: recBegin, Platform: w.id, Run: runOf(ctx)}
	event := onAttempt
	switch r := req.(type) {
	case *connectorv1.RequestUnbindRequest:
		call.Order, call.Attempt = r.GetOrderId(), int(r.GetAttempt())
	case *connectorv1.GetUnbindRequest:
		call.Order, event = r.GetOrderId(), onQuestion
	default:
		return next(ctx, req)
	}
	w.a.ledger.add(call)
	w.called(call.Order, call.Run)
	finish := sync.OnceFunc(func() {
		call.What = recFinish
		w.a.ledger.add(call)
	})
	// A call that the hub has given up is over, whatever goes on here.
	defer context.AfterFunc(ctx, finish)()
	w.a.victim.reached(event)
	resp, err := next(ctx, req)
	finish()
	go w.a.victim.reached(onAnswer)
	return resp, err
}

func (w *witness) called(order string, run int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers[order] = run
}

// runOf is the run of the hub that calls, as its certificate says.
func runOf(ctx context.Context) int {
	var n int
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(grpccreds.TLSInfo); ok {
			for _, name := range info.State.PeerCertificates[0].DNSNames {
				if strings.HasSuffix(name, ".chaos.test") {
					_, _ = fmt.Sscanf(name, "run-%d.", &n)
				}
			}
		}
	}
	return n
}

// Lookup implements sdk.Handler: everybody has one account here, of old.
func (w *witness) Lookup(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
	return sdk.Found(sdk.Account{Ref: accountOf(s.PhoneNumber), Product: "账号", BoundAt: time.Unix(1_400_000_000, 0)}), nil
}

func accountOf(number string) string { return "account-" + strings.TrimPrefix(number, "+86") }

// Unbind implements sdk.Unbinder.
func (w *witness) Unbind(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
	switch w.manner {
	case refusing:
		return sdk.Refused(sdk.HasBalance, ""), nil
	case flapping:
		if err := w.flap(o); err != nil {
			return sdk.Outcome{}, err
		}
	case slow:
		w.a.pause(5*time.Millisecond, 30*time.Millisecond)
		w.carryOut(o)
		w.a.pause(10*time.Millisecond, 60*time.Millisecond)
	case crowded:
		w.a.pause(100*time.Millisecond, 200*time.Millisecond)
	case later, reticent, redirecting:
		return w.take(o), nil
	}
	w.carryOut(o)
	return sdk.Completed(), nil
}

// carryOut makes the effect once: written down before anybody is told.
func (w *witness) carryOut(o sdk.Order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.effects[o.ID] {
		return
	}
	for _, account := range o.AccountRefs {
		if account != accountOf(o.PhoneNumber) || !o.Covers(time.Unix(1_400_000_000, 0)) {
			w.a.ledger.breach("order %s names %s, which is another's or not covered", o.ID, account)
		}
		w.a.ledger.add(record{What: recEffect, Run: w.callers[o.ID], Platform: w.id, Order: o.ID, Account: w.id + "/" + account})
	}
	w.effects[o.ID] = true
	w.a.victim.reached(onEffect)
}

// flap fails the first tries of an order in one of three ways.
func (w *witness) flap(o sdk.Order) error {
	w.mu.Lock()
	w.fails[o.ID]++
	n := w.fails[o.ID]
	w.mu.Unlock()
	if n > 2 {
		return nil
	}
	switch w.a.below(4) {
	case 0:
		return status.Error(codes.Unavailable, "before the effect")
	case 1:
		w.carryOut(o)
		return status.Error(codes.Unavailable, "after the effect")
	case 2:
		busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(100 * time.Millisecond)})
		if err != nil {
			return err
		}
		return busy.Err()
	}
	return nil
}

// take keeps an order for later; a repeat is answered as it stands.
func (w *witness) take(o sdk.Order) sdk.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	if out := w.taken[o.ID]; out != nil {
		return *out
	}
	out := sdk.Accepted()
	if w.manner == redirecting {
		out = sdk.ActionRequired("https://" + w.id + ".example/unbind/" + o.ID)
	}
	out.Time, out.CheckAfter = time.Now(), 60*time.Millisecond
	w.taken[o.ID] = &out
	w.a.background.Go(func() { w.follow(o, out) })
	return out
}

// follow ends an order some time after it was taken, and reports.
func (w *witness) follow(o sdk.Order, first sdk.Outcome) {
	w.a.pause(10*time.Millisecond, 150*time.Millisecond)
	review := sdk.Outcome{State: sdk.StateInReview, Time: time.Now(), CheckAfter: 60 * time.Millisecond}
	w.set(o.ID, review)
	if w.manner != reticent && w.a.below(2) == 0 {
		w.reports.send(o.ID, review) // one that comes before the effect
	}
	if w.manner == reticent {
		w.a.pause(100*time.Millisecond, 500*time.Millisecond) // so that it is asked a few times
	}
	w.a.pause(10*time.Millisecond, 150*time.Millisecond)
	w.carryOut(o)
	done := sdk.Outcome{State: sdk.StateCompleted, Time: time.Now()}
	w.set(o.ID, done)
	if w.manner == reticent {
		return
	}
	// Five times done, and between them what is older, or claims to be newer.
	stale := review
	stale.Time = time.Now().Add(time.Second)
	all := []sdk.Outcome{done, done, done, done, done, review, stale}
	if first.State == sdk.StateActionRequired {
		all = append(all, first)
	}
	for _, i := range w.a.perm(len(all)) {
		w.reports.send(o.ID, all[i])
	}
}

func (w *witness) set(order string, out sdk.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken[order] = &out
}

// asked is a witness that can be asked how an order stands.
type asked struct{ *witness }

// UnbindStatus implements sdk.UnbindStatuser.
func (w asked) UnbindStatus(_ context.Context, orderID string) (sdk.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if out := w.taken[orderID]; out != nil {
		return *out, nil
	}
	return sdk.Outcome{}, sdk.ErrUnknownOrder
}
