package trace

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"regexp"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// size is the length of a traceparent, version-trace-parent-flags in lower-case
// hexadecimal: 00-<32>-<16>-<2>.
const size = 55

// parse reads a traceparent of version 00. Anything else, and an id of zeros, is
// no parent: the context it returns is not valid then.
func parse(s string) otel.SpanContext {
	if len(s) != size || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return otel.SpanContext{}
	}
	var c otel.SpanContextConfig
	var flags [1]byte
	if !unhex(c.TraceID[:], s[3:35]) || !unhex(c.SpanID[:], s[36:52]) || !unhex(flags[:], s[53:]) {
		return otel.SpanContext{}
	}
	c.TraceFlags = otel.TraceFlags(flags[0]) & otel.FlagsSampled // the others mean nothing here
	return otel.NewSpanContext(c)
}

// unhex reads lower-case digits alone, as the standard asks.
func unhex(dst []byte, s string) bool {
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// format is the traceparent of a context, "" for one that is not valid.
func format(c otel.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	id, span := c.TraceID(), c.SpanID()
	b := make([]byte, 0, size)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	if c.IsSampled() {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// own is the context below a span that the hub itself made.
func own(traceparent string) context.Context {
	return otel.ContextWithSpanContext(context.Background(), parse(traceparent))
}

// mobile is what an id must not hold: whoever chose it may have typed a number.
// Of ids drawn by lot one in a hundred holds one too; those begin a new trace.
var mobile = regexp.MustCompile(`1[3-9]\d{9}`)

// stranger is the context below a span of somebody outside.
func stranger(traceparent string) context.Context {
	if mobile.MatchString(traceparent) {
		return context.Background()
	}
	return otel.ContextWithRemoteSpanContext(context.Background(), parse(traceparent))
}

// sampler decides what is exported: below a span of ours as that one was, and
// everything else by the ratio. A stranger's trace goes on under its id, but
// neither its flag nor its id decides, since a client that marks every request,
// or chooses ids that a ratio by id takes, would have the hub export them all.
type sampler struct {
	ratio float64
}

// ShouldSample implements the SDK's Sampler.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	parent := otel.SpanContextFromContext(p.ParentContext)
	take := rand.Float64() < s.ratio
	if parent.IsValid() && !parent.IsRemote() {
		take = parent.IsSampled()
	}
	if take {
		return sdk.SamplingResult{Decision: sdk.RecordAndSample}
	}
	return sdk.SamplingResult{Decision: sdk.Drop}
}

// Description implements the SDK's Sampler.
func (s sampler) Description() string { return "the hub's own ratio" }
