package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Options says where spans go. The zero value is off.
type Options struct {
	// OTLP is a collector that takes OTLP over HTTP: HOST:PORT, or a URL, whose
	// path is /v1/traces where it has none. HOST:PORT means http on this machine
	// and https elsewhere; a URL of http elsewhere is refused.
	OTLP string
	// Output writes spans as lines of JSON: "stdout", or a file to append to.
	Output string
	// Sample is the share of traces that are exported, 0 to 1.
	Sample float64
	// Exporter takes the place of both, for tests.
	Exporter sdk.SpanExporter
	// Instance is the hub's id.
	Instance string
	Logger   *slog.Logger
}

// On reports whether anything is traced.
func (o Options) On() bool { return o.OTLP != "" || o.Output != "" || o.Exporter != nil }

// Check says what can't be honoured.
func (o Options) Check() error {
	if !(o.Sample >= 0 && o.Sample <= 1) { // also NaN
		return errors.New("--trace-sample must be from 0 to 1")
	}
	if o.OTLP != "" && o.Output != "" {
		return errors.New("--trace and --trace-otlp exclude each other: give one of them")
	}
	if !o.On() && o.Sample != 1 {
		return errors.New("--trace-sample has nothing to sample: give --trace-otlp or --trace")
	}
	if o.OTLP == "" {
		return nil
	}
	_, err := endpoint(o.OTLP)
	return err
}

// Where a batch waits and how long: spans that come faster than the collector
// takes them are dropped, never waited for.
const (
	queued      = 8192
	exportEvery = 2 * time.Second
	exportTime  = 10 * time.Second
)

// Open returns the Tracer, nil where tracing is off. It dials nobody: a
// collector that is out of reach costs spans and nothing else.
func Open(o Options) (*Tracer, error) {
	if err := o.Check(); err != nil || !o.On() {
		return nil, err
	}
	to, closer, err := o.exporter()
	if err != nil {
		return nil, err
	}
	p := sdk.NewTracerProvider(
		sdk.WithSampler(sampler{o.Sample}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "tongcha"), attribute.String("service.instance.id", o.Instance))),
		sdk.WithBatcher(&quiet{SpanExporter: to, log: o.Logger},
			sdk.WithMaxQueueSize(queued), sdk.WithBatchTimeout(exportEvery), sdk.WithExportTimeout(exportTime)),
	)
	return &Tracer{provider: p, tracer: p.Tracer("github.com/tongcha/tongcha"), close: closer}, nil
}

func (o Options) exporter() (sdk.SpanExporter, func() error, error) {
	nothing := func() error { return nil }
	switch {
	case o.Exporter != nil:
		return o.Exporter, nothing, nil
	case o.OTLP != "":
		return dial(o.OTLP)
	}
	var w io.Writer = os.Stdout
	if o.Output != "stdout" {
		f, err := os.OpenFile(o.Output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("--trace: %w; give stdout or a file that can be written", err)
		}
		w, nothing = f, f.Close
	}
	to, err := stdouttrace.New(stdouttrace.WithWriter(w))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--trace: %w", err), nothing())
	}
	return to, nothing, nil
}

// dial makes the exporter with an HTTP client of its own, so that no connection
// outlives it.
func dial(address string) (sdk.SpanExporter, func() error, error) {
	u, err := endpoint(address)
	if err != nil {
		return nil, nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	to, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHTTPClient(client))
	if err != nil {
		return nil, nil, fmt.Errorf("--trace-otlp: %w", err)
	}
	return to, func() error { transport.CloseIdleConnections(); return nil }, nil
}

// endpoint reads where a collector listens.
func endpoint(address string) (*url.URL, error) {
	bad := errors.New("--trace-otlp must be HOST:PORT or a URL such as https://collector.example:4318")
	if !strings.Contains(address, "://") {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port == "" {
			return nil, bad
		}
		scheme := "https"
		if local(host) {
			scheme = "http"
		}
		address = scheme + "://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, bad // and not what was given, which may hold a password
	}
	if u.Scheme == "http" && !local(u.Hostname()) {
		return nil, errors.New("--trace-otlp must be https beyond this machine: they show which platform is asked when")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u, nil
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// quiet tells the log that spans could not be sent, once until some are again.
// Left to itself the SDK would write every failure to standard error.
type quiet struct {
	sdk.SpanExporter
	log    *slog.Logger
	failed atomic.Bool
}

// ExportSpans never fails.
func (q *quiet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	switch was := q.failed.Swap(err != nil); {
	case err != nil && !was:
		q.log.Warn("spans not sent; they are dropped until the collector takes them again", "error", err)
	case err == nil && was:
		q.log.Info("spans are sent again")
	}
	return nil
}
