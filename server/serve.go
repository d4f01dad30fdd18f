package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tongcha/tongcha/gen"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/gateway"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/rpc"
)

// The shares of time that stopping takes at most.
const (
	drainTime = 5 * time.Second // requests that have begun
	stopTime  = 5 * time.Second // lookups and attempts under way
)

// listeners are the hub's open doors.
type listeners struct {
	http, grpc, admin, metrics net.Listener
}

// Serve listens, calls ready with the addresses, and runs until ctx ends or a
// part fails, then stops in order: /readyz fails, doors close, waits end,
// leases are returned, figures are flushed, the database is closed. When the
// store breaks, also while it stops, it returns at once with a DiskError: nothing
// may be acknowledged any more.
func (h *Hub) Serve(ctx context.Context, ready func(Addresses)) error {
	l, err := h.listen()
	if err != nil {
		return h.OfDisk(errors.Join(err, h.Close()))
	}
	s, err := h.newServing(ctx, l)
	if err != nil {
		l.close()
		return errors.Join(err, h.Close())
	}
	if err := h.catalogue.connect(); err != nil {
		l.close()
		return errors.Join(err, h.Close())
	}
	h.pulse.at(l.addresses())
	s.start()
	h.ready.Store(true)
	h.rpc.SetServing(true)
	if ready != nil {
		ready(l.addresses())
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	case <-h.store.Broken():
		return h.broken()
	}
	return errors.Join(failure, h.unlessBroken(s.stop))
}

// unlessBroken runs stop and leaves it alone when the store breaks meanwhile.
func (h *Hub) unlessBroken(stop func() error) error {
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		if broken := h.broken(); broken != nil { // by the last of its commits
			return broken
		}
		return err
	case <-h.store.Broken():
		return h.broken()
	}
}

// Addresses are where a hub listens.
type Addresses struct {
	HTTP, GRPC, Metrics string
}

func (h *Hub) listen() (_ *listeners, err error) {
	l := new(listeners)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, d := range []struct {
		to      *net.Listener
		address string
		flag    string
	}{{&l.http, h.cfg.HTTP, "--http"}, {&l.grpc, h.cfg.GRPC, "--grpc"}, {&l.metrics, h.cfg.Metrics, "--metrics"}} {
		if d.address == "" {
			continue
		}
		if *d.to, err = net.Listen("tcp", d.address); err != nil {
			return nil, fmt.Errorf("%s: %w; choose another address", d.flag, err)
		}
	}
	if l.admin, err = admin.Listen(Socket(h.cfg.Data)); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *listeners) each() []net.Listener {
	var open []net.Listener
	for _, one := range []net.Listener{l.http, l.grpc, l.admin, l.metrics} {
		if one != nil {
			open = append(open, one)
		}
	}
	return open
}

func (l *listeners) close() {
	for _, one := range l.each() {
		_ = one.Close()
	}
}

func (l *listeners) addresses() Addresses {
	a := Addresses{HTTP: l.http.Addr().String(), GRPC: l.grpc.Addr().String()}
	if l.metrics != nil {
		a.Metrics = l.metrics.Addr().String()
	}
	return a
}

// serving is a hub that listens.
type serving struct {
	h       *Hub
	l       *listeners
	local   *rpc.Local // from REST to the handlers
	outer   *grpc.Server
	admin   *grpc.Server
	http    *http.Server
	metrics *http.Server

	failed chan error
	work   *workers
}

func (h *Hub) newServing(ctx context.Context, l *listeners) (*serving, error) {
	s := &serving{
		h: h, l: l, local: h.rpc.Local(), failed: make(chan error, 8),
		outer: h.rpc.Outer(grpc.Creds(credentials.NewTLS(pki.ServerConfig(h.creds, h.cfg.TrustDomain)))),
		admin: admin.NewServer(h.adminOptions()),
	}
	handler, err := gateway.New(ctx, h.gatewayOptions(s.local))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s.http = gateway.Server(h.cfg.HTTP, handler, h.cfg.Logger)
	if s.http.TLSConfig, err = h.httpTLS(); err != nil {
		return nil, err
	}
	if l.metrics != nil {
		s.metrics = gateway.Server(h.cfg.Metrics, h.operations(), h.cfg.Logger)
	}
	s.work = newWorkers(h, s.failed)
	return s, nil
}

func (h *Hub) gatewayOptions(conn grpc.ClientConnInterface) gateway.Options {
	o := gateway.Options{
		Conn: conn, Status: rpc.Status, TrustedProxies: h.cfg.TrustedProxies, Logger: h.cfg.Logger, Observe: h.metrics.observeHTTP,
		Livez: func() error { return nil }, Readyz: h.readiness, OpenAPI: gen.OpenAPI,
		ReceiptKeys: h.receipts.Keys().JSON(),
	}
	if h.trace != nil {
		o.Span = h.trace.REST
	}
	if h.cfg.Metrics == "" {
		o.Metrics = h.metrics.handler()
	}
	return o
}

// operations serves /metrics and the probes on a listener of their own.
func (h *Hub) operations() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h.metrics.handler())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.readiness() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

// httpTLS is nil for plain HTTP. Client certificates are optional and, where one
// is shown, verified against the hub's authority.
func (h *Hub) httpTLS() (*tls.Config, error) {
	if h.cfg.HTTPCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(h.cfg.HTTPCert, h.cfg.HTTPKey)
	if err != nil {
		return nil, fmt.Errorf("--http-cert: %w", err)
	}
	h.pulse.http(cert.Leaf)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: h.authority.Roots(),
	}, nil
}

func (s *serving) start() {
	s.run("gRPC", func() error { return s.outer.Serve(s.l.grpc) })
	s.run("operator's socket", func() error { return s.admin.Serve(s.l.admin) })
	s.run("REST", func() error {
		if s.http.TLSConfig != nil {
			return s.http.ServeTLS(s.l.http, "", "")
		}
		return s.http.Serve(s.l.http)
	})
	if s.metrics != nil {
		s.run("metrics", func() error { return s.metrics.Serve(s.l.metrics) })
	}
	s.work.start()
}

// run serves one door; one that fails ends the hub.
func (s *serving) run(name string, serve func() error) {
	go func() {
		err := serve()
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			s.failed <- fmt.Errorf("%s: %w", name, err)
		}
	}()
}

// stop ends everything, each part before what it stands on.
func (s *serving) stop() error {
	h := s.h
	time.Sleep(h.turnAway())
	h.rpc.SetAdmitting(false) // before what it would begin has no place any more
	h.lookups.Drain()
	h.unbinds.Drain()
	s.closeDoors()
	last, cancelLast := context.WithTimeout(context.Background(), stopTime)
	defer cancelLast()
	s.work.cancel() // now, so that a message on its way has all of that time
	h.lookups.Close(last)
	err := s.work.stop(last)
	if s.metrics != nil {
		_ = s.metrics.Close()
	}
	err = errors.Join(err, h.Close())
	h.cfg.Logger.Info("stopped", "clean", err == nil)
	return err
}

// closeDoors lets the requests that have begun end, all doors at the same time,
// so that a stream that somebody holds open cuts nobody else short; then the way
// from REST to the handlers, which is empty by then.
func (s *serving) closeDoors() {
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { stopGRPC(drain, s.outer) })
	all.Go(func() { stopGRPC(drain, s.admin) })
	if err := s.http.Shutdown(drain); err != nil {
		_ = s.http.Close()
	}
	s.local.Stop(drain)
	all.Wait()
}

// stopGRPC lets calls end until ctx does.
func stopGRPC(ctx context.Context, g *grpc.Server) {
	done := make(chan struct{})
	go func() { g.GracefulStop(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		g.Stop()
		<-done
	}
}
