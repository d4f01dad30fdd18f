// Package gateway serves REST by calling the gRPC handlers of its own process,
// refusing whatever is malformed before it reaches grpc-gateway and never
// repeating what a person typed.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/fault"
)

// Options is what the gateway is given. Conn and Status are required.
type Options struct {
	// Conn leads to the gRPC handlers that answer, with all their interceptors.
	Conn grpc.ClientConnInterface
	// Status is the one table from fault to status; what the gateway refuses by
	// itself goes through it too, so that errors look alike.
	Status func(error) *status.Status
	// TrustedProxies are the only peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Logger gets routes, codes and types, never a value. Nil logs nothing.
	Logger *slog.Logger
	// Observe is called after every answer. route is a template such as
	// "GET /v1/lookups/{lookupId}", or one of few fixed words: its values are
	// finitely many, whatever is asked for. May be nil.
	Observe func(route string, code int, d time.Duration)
	// Span begins the span of a REST request below the client's W3C traceparent,
	// "" where it sent none; end is called once, with the answer's code. child goes
	// with the call. Nil traces nothing.
	Span func(traceparent, route string) (child string, end func(code int))
	// Livez and Readyz say why the process is not well. Nil means always well.
	Livez, Readyz func() error
	// Metrics is served at /metrics. Nil leaves the path unknown.
	Metrics http.Handler
	// OpenAPI is served at /openapi.json. Nil leaves the path unknown.
	OpenAPI []byte
	// ReceiptKeys is served at ReceiptKeysPath. Nil leaves the path unknown.
	ReceiptKeys []byte
	// Pages answers every clean path that is not listed here and not below /v1.
	// It is given here, and not wired beside the gateway with an http.ServeMux,
	// because that would answer odd paths with a redirect. Nil means 404.
	Pages http.Handler
}

// patience is how long the gateway waits for a client's bytes. It is apart from
// Options so that only tests change it.
type patience struct {
	read  time.Duration // the whole request body
	write time.Duration // until the client takes a piece of the answer
}

var defaultPatience = patience{read: 10 * time.Second, write: 30 * time.Second}

type handler struct {
	Options
	patience patience
	mux      *runtime.ServeMux
	routes   []*route
	fixed    map[string]http.Handler // the paths outside /v1
}

// New returns the handler of the whole HTTP surface. It holds no goroutine and
// nothing to close.
func New(ctx context.Context, o Options) (http.Handler, error) {
	return newHandler(ctx, o, defaultPatience, newCodec())
}

func newHandler(ctx context.Context, o Options, p patience, m runtime.Marshaler) (*handler, error) {
	if o.Conn == nil || o.Status == nil {
		return nil, errors.New("gateway: Conn and Status are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	routes, err := compile(table)
	if err != nil {
		return nil, err
	}
	h := &handler{Options: o, patience: p, routes: routes}
	h.fixed = h.fixedPaths()
	h.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, m),
		runtime.WithErrorHandler(h.muxError),
		runtime.WithRoutingErrorHandler(h.muxRouting),
		runtime.WithStreamErrorHandler(h.clean),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(nothing),
		runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithMetadata(reserved),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableChunkedEncoding(),
		runtime.WithWriteContentLength(),
	)
	return h, h.register(ctx)
}

// register binds every service that proto/http.yaml maps.
func (h *handler) register(ctx context.Context) error {
	return errors.Join(
		hubv1.RegisterCatalogueServiceHandlerClient(ctx, h.mux, hubv1.NewCatalogueServiceClient(h.Conn)),
		hubv1.RegisterVerificationServiceHandlerClient(ctx, h.mux, hubv1.NewVerificationServiceClient(h.Conn)),
		hubv1.RegisterLookupServiceHandlerClient(ctx, h.mux, watcher{hubv1.NewLookupServiceClient(h.Conn)}),
		hubv1.RegisterUnbindServiceHandlerClient(ctx, h.mux, hubv1.NewUnbindServiceClient(h.Conn)),
		oversightv1.RegisterCoverageServiceHandlerClient(ctx, h.mux, oversightv1.NewCoverageServiceClient(h.Conn)),
	)
}

// ServeHTTP answers one request and reports it, also when something panics.
func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w := newWriter(rw, r, h.patience, cancel)
	c := &call{label: "unknown", method: r.Method}
	r = r.WithContext(context.WithValue(ctx, callKey{}, c))
	defer func() {
		abort := false
		if v := recover(); v != nil {
			abort = h.panicked(w, c, v)
		}
		if c.end != nil {
			c.end(w.status())
		}
		if h.Observe != nil {
			h.Observe(c.label, w.status(), time.Since(start))
		}
		if abort {
			panic(http.ErrAbortHandler)
		}
		w.linger(r)
	}()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := h.serve(w, r, c); err != nil {
		h.write(w, h.Status(err))
	}
}

// serve finds who answers. An error it returns is a fault of the gateway's own,
// and nothing has been written then.
func (h *handler) serve(w *writer, r *http.Request, c *call) error {
	if !plainPath(r.URL) {
		return fault.PathUnknown.New()
	}
	path := r.URL.Path
	if f, ok := h.fixed[path]; ok {
		c.label = path
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return notAllowed(w, "GET, HEAD")
		}
		f.ServeHTTP(w, r)
		return nil
	}
	if path == "/v1" || strings.HasPrefix(path, "/v1/") {
		return h.rest(w, r, c)
	}
	if h.Pages == nil {
		return fault.PathUnknown.New()
	}
	c.label = "pages"
	h.Pages.ServeHTTP(w, r)
	return nil
}

// rest checks a request against its route and hands what is left of it to
// grpc-gateway: no header but two, no query but the known, a body read whole.
func (h *handler) rest(w *writer, r *http.Request, c *call) error {
	rt, allow := find(h.routes, r.Method, r.URL.Path)
	if allow == "" {
		return fault.PathUnknown.New()
	}
	if rt == nil {
		return notAllowed(w, allow)
	}
	c.label = rt.method + " " + rt.path
	h.trace(r, c)
	if err := rt.checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	data, err := readBody(w, r, rt.limit)
	if err != nil {
		return err
	}
	if len(data) > 0 && rt.method == http.MethodGet {
		return fault.BodyInvalid.New()
	}
	c.address, c.peer = h.address(r), peer(r)
	h.mux.ServeHTTP(w, inner(r, &body{data: data, bound: rt.bound}))
	return nil
}

// notAllowed is the answer to a method that the path does not take.
func notAllowed(w *writer, allow string) error {
	w.Header().Set("Allow", allow)
	return fault.MethodNotAllowed.New()
}

// panicked answers for a handler that panicked, and reports whether the answer has
// to be cut off instead: the client must not take half of one for a whole one. The
// value is not logged, as it may hold what was typed; its type and the stack are.
func (h *handler) panicked(w *writer, c *call, v any) (abort bool) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return true
	}
	h.Logger.Error("handler panicked", "route", c.label, "type", typeName(v), "stack", string(debug.Stack()))
	if w.code != 0 {
		return true
	}
	h.write(w, h.Status(fault.InternalError.New()))
	return false
}
