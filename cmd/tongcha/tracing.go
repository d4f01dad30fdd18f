package main

import (
	"github.com/spf13/pflag"

	"github.com/tongcha/tongcha/server/trace"
)

// addTrace adds the settings that serve and dev share of where traces go.
func addTrace(s *pflag.FlagSet, o *trace.Options) {
	s.StringVar(&o.OTLP, "trace-otlp", "", "collector that takes OpenTelemetry traces, OTLP over HTTP: HOST:PORT or URL, https beyond this machine")
	s.StringVar(&o.Output, "trace", "", "write traces as lines of JSON to `FILE`, or to stdout")
	s.Float64Var(&o.Sample, "trace-sample", 1, "share of the traces that are exported, 0 to 1, whatever a client's traceparent says")
}
