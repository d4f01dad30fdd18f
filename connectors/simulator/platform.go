package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// Behaviour is how a simulated platform acts.
type Behaviour string

// The behaviours. All but Silent answer lookups from the rows.
const (
	Sync        Behaviour = "SYNC"        // answers at once, unbinds at once
	Slow        Behaviour = "SLOW"        // the same, Spec.Delay later
	Async       Behaviour = "ASYNC"       // accepts, reviews, completes
	Refusing    Behaviour = "REFUSING"    // refuses every order, and carries it out on appeal
	Redirecting Behaviour = "REDIRECTING" // sends the person to a page; done after the visit
	Silent      Behaviour = "SILENT"      // describes itself; takes every other call and never answers
	// Flapping fails the 1st, 3rd, 5th … lookup call and every first attempt of an
	// order. It offers no stream: what a stream that ends leaves open is asked
	// again, and its failures would not show.
	Flapping Behaviour = "FLAPPING"
)

// Spec is a simulated platform. ID and Behaviour are required; times that are 0
// have the defaults given.
type Spec struct {
	ID             string
	DisplayName    string
	Behaviour      Behaviour
	Products       []string
	SelfServiceURL string
	MaxBatch       int // as in sdk.Config

	// Delay is before every answer to a lookup, and to an order that is carried out
	// at once; none, with Slow 1.2 s. A StragglerShare of the answers to lookups, 0
	// to 1, chosen by lot for each question, has StragglerDelay instead.
	Delay          time.Duration
	StragglerShare float64
	StragglerDelay time.Duration

	ReviewAfter   time.Duration // Async: from the order to IN_REVIEW; 1 s
	CompleteAfter time.Duration // Async: from IN_REVIEW to COMPLETED; 3 s
	// VisitAfter is when a Redirecting platform takes the person to have been
	// there; 6 s. Below 0 only Server.Visit counts.
	VisitAfter time.Duration

	Refusal     sdk.RefusalReason // Refusing: HAS_BALANCE
	RefusalText string            // Refusing: a Chinese sentence about the balance
	YieldsTo    int               // Refusing: which appeal it grants; 1. Below 0 it grants none
}

func (s Spec) withDefaults() Spec {
	if s.Behaviour == Slow && s.Delay == 0 {
		s.Delay = 1200 * time.Millisecond
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&s.ReviewAfter, time.Second},
		{&s.CompleteAfter, 3 * time.Second},
		{&s.VisitAfter, 6 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if s.Refusal == 0 {
		s.Refusal = sdk.HasBalance
	}
	if s.YieldsTo == 0 {
		s.YieldsTo = 1
	}
	if s.RefusalText == "" && s.Refusal == sdk.HasBalance {
		s.RefusalText = "账户内仍有余额，请先提现或转出后再解绑。"
	}
	return s
}

// Reporter is how a platform tells the hub about its orders; *sdk.Reporter is one.
type Reporter interface {
	Report(ctx context.Context, orderID string, o sdk.Outcome) (sdk.Reported, error)
}

// Endpoint is where and as whom a simulated party serves.
type Endpoint struct {
	Address     string       // default 127.0.0.1:0
	Listener    net.Listener // used instead of Address when set
	Credentials sdk.Credentials
	// Reporter, when set, reports what becomes of orders that end later. They
	// can be asked for with GetUnbind in any case.
	Reporter Reporter
	Logger   *slog.Logger // default slog.Default()
}

// Server is a simulated party that is being served.
type Server struct {
	addr  net.Addr
	stop  func() error
	visit func(orderID string) bool
}

// Address is where it listens, as host:port.
func (s *Server) Address() string { return s.addr.String() }

// Stop ends it and waits until nothing of it runs any more. It returns what made
// serving fail before, if anything did; repeats return the same.
func (s *Server) Stop() error { return s.stop() }

// Visit tells a Redirecting platform that the person was at the page of the
// order, which completes it soon. It reports whether the order was waiting.
func (s *Server) Visit(orderID string) bool { return s.visit != nil && s.visit(orderID) }

// StartPlatform serves a platform in the background until ctx ends or Stop.
func StartPlatform(ctx context.Context, spec Spec, data *Data, at Endpoint) (*Server, error) {
	life, cancel := context.WithCancel(ctx)
	p := newParts(life, spec.withDefaults(), data, at)
	if p.handler == nil {
		cancel()
		return nil, errors.New("simulator: unknown behaviour")
	}
	cfg := sdk.Config{
		PlatformID: spec.ID, Address: at.Address, Listener: at.Listener, Credentials: at.Credentials,
		DisplayName: spec.DisplayName, Products: spec.Products, MaxBatch: spec.MaxBatch,
		SelfServiceURL: spec.SelfServiceURL, UnbindMode: p.mode, Logger: at.Logger,
		DrainTimeout: time.Second, Concurrency: 1024, NoStream: p.noStream,
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	if p.interceptor != nil {
		cfg.Interceptors = []grpc.UnaryServerInterceptor{p.interceptor}
	}
	if p.frames != nil {
		cfg.StreamInterceptors = []grpc.StreamServerInterceptor{p.frames}
	}
	srv, err := sdk.New(cfg, p.handler)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("simulator: platform %q: %w", spec.ID, err)
	}
	s := &Server{addr: srv.Addr(), visit: p.visit}
	s.stop = inBackground(cancel, func() error {
		defer p.join()
		return srv.Run(life)
	})
	return s, nil
}

// inBackground runs f and returns a function that cancels and waits for it.
func inBackground(cancel context.CancelFunc, f func() error) func() error {
	done := make(chan struct{})
	var failed error
	go func() {
		defer close(done)
		failed = f()
		cancel()
	}()
	return sync.OnceValue(func() error {
		cancel()
		<-done
		return failed
	})
}
