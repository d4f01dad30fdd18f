package trace

import (
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	sampled = "00-" + traceID + "-00f067aa0ba902b7-01"
	dropped = "00-" + traceID + "-00f067aa0ba902b7-00"
)

func TestParse(t *testing.T) {
	for _, s := range []string{sampled, dropped} {
		if c := parse(s); !c.IsValid() || format(c) != s || c.IsSampled() != (s == sampled) {
			t.Errorf("%q was read as %q", s, format(c))
		}
	}
	if got := format(parse(strings.TrimSuffix(sampled, "01") + "ff")); got != sampled {
		t.Errorf("flags that mean nothing here are kept: %q", got)
	}
	for _, s := range []string{
		"", "x", sampled + "-", sampled + "0", sampled[:54], strings.ToUpper(sampled), " " + sampled[1:], "01" + sampled[2:], "ff" + sampled[2:],
		strings.ReplaceAll(sampled, "-", "_"), strings.Replace(sampled, traceID, strings.Repeat("0", 32), 1),
		strings.Replace(sampled, "00f067aa0ba902b7", strings.Repeat("0", 16), 1), strings.Replace(sampled, "4b", "4g", 1), sampled[:53] + "\x00\x01",
	} {
		if c := parse(s); c.IsValid() || format(c) != "" {
			t.Errorf("%q was read as %q", s, format(c))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampled)
	f.Add(dropped)
	f.Fuzz(func(t *testing.T, s string) {
		if c := parse(s); c.IsValid() && (len(s) != size || format(c)[:53] != s[:53]) {
			t.Errorf("%q was read as %q", s, format(c))
		}
	})
}

// A stranger decides nothing by a flag or an id; our own spans decide for what
// is below them.
func TestSampler(t *testing.T) {
	lowest := strings.Replace(sampled, traceID, strings.Repeat("0", 31)+"1", 1)
	for what, c := range map[string]struct {
		ratio float64
		p     sdk.SamplingParameters
		want  bool
	}{
		"a stranger's mark":      {0, sdk.SamplingParameters{ParentContext: stranger(sampled)}, false},
		"an id that ratios take": {0, sdk.SamplingParameters{ParentContext: stranger(lowest)}, false},
		"a stranger's refusal":   {1, sdk.SamplingParameters{ParentContext: stranger(dropped)}, true},
		"our own":                {0, sdk.SamplingParameters{ParentContext: own(sampled)}, true},
		"our own, not taken":     {1, sdk.SamplingParameters{ParentContext: own(dropped)}, false},
		"nobody's":               {1, sdk.SamplingParameters{ParentContext: own("")}, true},
		"nobody's, none taken":   {0, sdk.SamplingParameters{ParentContext: stranger("")}, false},
	} {
		if got := (sampler{c.ratio}).ShouldSample(c.p).Decision == sdk.RecordAndSample; got != c.want {
			t.Errorf("%s: sampled %v", what, got)
		}
	}
	taken := 0
	for range 10_000 {
		if (sampler{.5}).ShouldSample(sdk.SamplingParameters{ParentContext: stranger(lowest)}).Decision == sdk.RecordAndSample {
			taken++
		}
	}
	if taken < 4500 || taken > 5500 {
		t.Errorf("%d of 10000 of one trace id were taken at a half", taken)
	}
}

// A number that somebody puts into a trace id goes nowhere.
func TestNumberInATraceID(t *testing.T) {
	for parent, goesOn := range map[string]bool{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": true,
		"00-13800138000f4da6a3ce929d0e0e4736-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce8613800138000-0f067aa0ba902b7-01": false, // no traceparent at all
		"00-4bf92f3577b34da6a3ce929d0e0e4736-8613800138000ab7-01": false,
	} {
		if got := otel.SpanContextFromContext(stranger(parent)).IsValid(); got != goesOn {
			t.Errorf("%s goes on: %v", parent, got)
		}
	}
}
