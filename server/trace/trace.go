// Package trace makes the hub's OpenTelemetry spans: one for each request and
// one for each question to a platform, none of which holds anything a person
// typed.
package trace

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/tongcha/tongcha/server/platform"
)

// The attributes of every span; there are no others, no events and no texts of
// errors. Their values are route templates, methods, codes, catalogued ids and
// outcomes of one word. An id of a lookup, an order or a session is none of them:
// it says nothing of a person, but ties a trace to one.
const (
	keyRoute    = attribute.Key("http.route")
	keyStatus   = attribute.Key("http.response.status_code")
	keyMethod   = attribute.Key("rpc.method")
	keyCode     = attribute.Key("rpc.grpc.status_code_name")
	keyPlatform = attribute.Key("tongcha.platform")
	keyOutcome  = attribute.Key("tongcha.outcome")
)

// Tracer makes spans. A span is begun by a method that is given the W3C
// traceparent of its parent and returns that of the span, for what comes below
// it, and the function that ends it. So the packages between hand on a string
// and know nothing of OpenTelemetry. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   otel.Tracer
	close    func() error
}

// REST begins the span of a REST request, by the template of its route. The
// parent is the client's, who may be anybody: see sampler.
func (t *Tracer) REST(traceparent, route string) (child string, end func(status int)) {
	span := t.begin(stranger(traceparent), route, otel.SpanKindServer, keyRoute.String(route))
	return format(span.SpanContext()), func(status int) {
		span.SetAttributes(keyStatus.Int(status))
		if status >= 500 {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// RPC begins the span of a gRPC call, by its method's full name. The parent is
// ours where the call came through the gateway, else the caller's.
func (t *Tracer) RPC(traceparent, method string, fromGateway bool) (child string, end func(code string)) {
	parent := stranger(traceparent)
	if fromGateway {
		parent = own(traceparent)
	}
	method = strings.TrimPrefix(method, "/")
	span := t.begin(parent, method, otel.SpanKindServer, keyMethod.String(method))
	return format(span.SpanContext()), func(code string) {
		code = word(code)
		span.SetAttributes(keyCode.String(code))
		if code == "Internal" || code == "Unavailable" || code == "Unknown" || code == "DataLoss" {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Platform begins the span of one question to one platform: kind is "lookup" or
// "unbind". Without a parent, as for an attempt in the background, it begins a
// trace of its own.
func (t *Tracer) Platform(traceparent string, id platform.ID, kind string) (child string, end func(outcome string)) {
	name := "platform lookup"
	if kind == "unbind" {
		name = "unbind attempt"
	}
	if p := parse(traceparent); p.IsValid() && !p.IsSampled() {
		return traceparent, func(string) {} // nothing to record for any of some hundred platforms
	}
	span := t.begin(own(traceparent), name, otel.SpanKindClient, keyPlatform.String(string(id)))
	return format(span.SpanContext()), func(outcome string) {
		if outcome = word(outcome); kind == "lookup" && !told[outcome] {
			outcome = "other"
		}
		span.SetAttributes(keyOutcome.String(outcome))
		span.End()
	}
}

// told is what a trace may say of a question: not where somebody has an account.
// It is read only.
var told = map[string]bool{"answered": true, "silent": true, "malformed": true}

func (t *Tracer) begin(parent context.Context, name string, kind otel.SpanKind, a attribute.KeyValue) otel.Span {
	_, span := t.tracer.Start(parent, name, otel.WithSpanKind(kind), otel.WithAttributes(a))
	return span
}

// Close sends what is left, until ctx ends, and lets go of the exporter.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if cerr := t.close(); err == nil {
		err = cerr
	}
	return err
}

// word keeps an attribute to a code or an outcome of one word: a text would be
// of somebody else's making.
func word(s string) string {
	if s == "" || len(s) > 32 {
		return "other"
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return "other"
		}
	}
	return s
}
