package trace

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/tongcha/tongcha/server/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Tracer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func closed(t *testing.T, tr *Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestTree(t *testing.T) {
	kept := new(keeper)
	tr := open(t, Options{Exporter: kept, Sample: 1, Instance: "one"})
	rest, endREST := tr.REST(dropped, "POST /v1/lookups")
	rpc, endRPC := tr.RPC(rest, "/tongcha.hub.v1.LookupService/CreateLookup", true)
	shop, endShop := tr.Platform(rpc, "shop", "lookup")
	endShop("answered")
	endRPC("OK")
	endREST(200)
	_, endBound := tr.Platform("", "shop", "lookup")
	endBound("bound") // where somebody has an account
	_, endAttempt := tr.Platform("", "shop", "unbind")
	endAttempt("a text: 13912349876")
	closed(t, tr)
	spans := kept.spans()
	names := []string{"platform lookup", "tongcha.hub.v1.LookupService/CreateLookup", "POST /v1/lookups", "platform lookup", "unbind attempt"}
	if len(spans) != len(names) {
		t.Fatalf("%d spans", len(spans))
	}
	for i, s := range spans {
		if s.Name != names[i] || (s.SpanContext.TraceID().String() == traceID) != (i < 3) {
			t.Errorf("span %d: %s in %s", i, s.Name, s.SpanContext.TraceID())
		}
		if i < 2 && s.Parent.SpanID() != spans[i+1].SpanContext.SpanID() {
			t.Errorf("%s is below %s", s.Name, s.Parent.SpanID())
		}
	}
	if format(spans[0].SpanContext) != shop || !strings.HasSuffix(shop, "-01") {
		t.Errorf("the platform is given %q", shop)
	}
	for i, want := range map[int]string{0: "answered", 3: "other", 4: "other"} {
		if got := spans[i].Attributes; len(got) != 2 || got[1].Value.AsString() != want {
			t.Errorf("span %d: %v", i, got)
		}
	}
}

// What is not sampled goes on under its id, and costs no span for each platform.
func TestNotSampled(t *testing.T) {
	kept := new(keeper)
	tr := open(t, Options{Exporter: kept, Sample: 0})
	rest, endREST := tr.REST(sampled, "POST /v1/lookups")
	rpc, endRPC := tr.RPC(rest, "/m", true)
	child, end := tr.Platform(rpc, "shop", "lookup")
	if child != rpc || !strings.HasPrefix(child, "00-"+traceID) || !strings.HasSuffix(child, "-00") {
		t.Errorf("the platform is given %q, the call had %q", child, rpc)
	}
	if n := testing.AllocsPerRun(100, func() { tr.Platform(rpc, "shop", "lookup") }); n != 0 {
		t.Errorf("%v allocations for each platform", n)
	}
	end("answered")
	endRPC("OK")
	endREST(200)
	closed(t, tr)
	if got := kept.spans(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestOff(t *testing.T) {
	if tr := open(t, Options{Sample: 1}); tr != nil {
		t.Error("something is traced")
	}
}

func TestCheck(t *testing.T) {
	for _, o := range []Options{
		{Sample: 1}, {OTLP: "127.0.0.1:4318", Sample: .5}, {OTLP: "https://collector.example:4318/v1/traces"}, {OTLP: "collector.example:4318"},
		{OTLP: "http://[::1]:4318"}, {Output: "stdout", Sample: 0}, {OTLP: "localhost:1"},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{
		{}, {Sample: .5}, {Output: "stdout", Sample: -.1}, {Output: "stdout", Sample: 1.1}, {Output: "stdout", Sample: math.NaN()},
		{OTLP: "127.0.0.1:1", Output: "stdout", Sample: 1}, {OTLP: "collector", Sample: 1}, {OTLP: "ftp://collector.example", Sample: 1},
		{OTLP: "http://collector.example:4318", Sample: 1}, {OTLP: "https://user:secret@collector.example", Sample: 1}, {OTLP: ":4318", Sample: 1},
		{OTLP: "https://", Sample: 1}, {OTLP: "https://a?b=c", Sample: 1},
	} {
		tr, err := Open(o)
		if err == nil || tr != nil || !strings.Contains(err.Error(), "--trace") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:4318": "http://127.0.0.1:4318/v1/traces", "collector.example:4318": "https://collector.example:4318/v1/traces",
		"https://collector.example/": "https://collector.example/v1/traces", "https://collector.example/tenant/v1/traces": "https://collector.example/tenant/v1/traces",
	} {
		if u, err := endpoint(address); err != nil || u.String() != want {
			t.Errorf("%s: %v %v", address, u, err)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans.json")
	for range 2 { // the second run appends
		tr := open(t, Options{Output: path, Sample: 1})
		_, end := tr.REST("", "GET /v1/consent")
		end(500)
		closed(t, tr)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), `"Name":"GET /v1/consent"`) != 2 || strings.Count(string(b), "\n") != 2 {
		t.Errorf("%s %v", b, err)
	}
	if tr, err := Open(Options{Output: filepath.Join(path, "below"), Sample: 1}); err == nil || tr != nil {
		t.Error("a file that can't be written is taken")
	}
}

// TestCollector sends to a collector that fails at first: the log says so once,
// and no connection is left (see TestMain).
func TestCollector(t *testing.T) {
	var fails atomic.Bool
	fails.Store(true)
	took := make(chan string, 10)
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fails.Load() {
			w.WriteHeader(http.StatusBadRequest)
		}
		took <- r.URL.Path
	}))
	defer c.Close()
	logs := new(logtest.Log)
	tr := open(t, Options{OTLP: strings.TrimPrefix(c.URL, "http://"), Sample: 1, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	for i := range 3 {
		fails.Store(i < 2)
		_, end := tr.REST("", "GET /v1/consent")
		end(200)
		if err := tr.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
		if path := <-took; path != "/v1/traces" {
			t.Errorf("sent to %s", path)
		}
	}
	closed(t, tr)
	if s := logs.String(); strings.Count(s, "spans not sent") != 1 || strings.Count(s, "spans are sent again") != 1 {
		t.Errorf("the log says %s", s)
	}
}

// A collector that never answers holds up no stop beyond its bound.
func TestCloseIsBounded(t *testing.T) {
	release := make(chan struct{})
	c := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer c.Close()
	defer close(release)
	tr := open(t, Options{OTLP: c.URL, Sample: 1})
	_, end := tr.REST("", "GET /v1/consent")
	end(200)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := tr.Close(ctx); err == nil {
		t.Error("spans that nobody took were sent")
	}
}

// keeper keeps spans beyond the shutdown, at which tracetest's own forgets them.
type keeper struct {
	tracetest.InMemoryExporter
	last tracetest.SpanStubs
}

func (k *keeper) Shutdown(ctx context.Context) error {
	k.last = k.GetSpans()
	return k.InMemoryExporter.Shutdown(ctx)
}

func (k *keeper) spans() tracetest.SpanStubs { return k.last }
