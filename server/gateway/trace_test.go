package gateway

import (
	"slices"
	"testing"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// begun is a span that a gateway began.
type begun struct{ parent, route string }

// Every request of a known route has one span, whatever becomes of it, and the
// call below is told of the span instead of what the client sent.
func TestSpans(t *testing.T) {
	begins, ends := make(chan begun, 16), make(chan int, 16)
	s := open(t, func(o *Options) {
		o.Span = func(traceparent, route string) (string, func(int)) {
			begins <- begun{traceparent, route}
			return "child", func(code int) { ends <- code }
		}
	}, defaultPatience)
	for _, c := range []struct {
		path    string
		headers []string
		want    begun
		code    int
	}{
		{"/v1/consent", nil, begun{"", "GET /v1/consent"}, 200},
		{"/v1/consent", []string{"Traceparent: " + parent, "Tracestate: a=" + canary}, begun{parent, "GET /v1/consent"}, 200},
		{"/v1/consent", []string{"Traceparent: " + parent, "Traceparent: " + parent}, begun{"", "GET /v1/consent"}, 200},
		{"/v1/lookups/" + canary, nil, begun{"", "GET /v1/lookups/{lookupId}"}, 200},
		{"/v1/consent?x=" + canary, nil, begun{"", "GET /v1/consent"}, 400},
	} {
		r := s.do("GET", c.path, "", c.headers...)
		if got, code := <-begins, <-ends; got != c.want || code != c.code || r.code != c.code {
			t.Errorf("%s %v: %d, span %+v with %d", c.path, c.headers, r.code, got, code)
		}
		if md, _ := s.metadata(); !slices.Equal(md.Get("traceparent"), []string{"child"}) || len(md.Get("tracestate")) != 0 {
			t.Errorf("%s %v: passed %v", c.path, c.headers, md)
		}
	}
	s.do("GET", "/v1/unknown", "")
	s.do("GET", "/livez", "")
	if len(begins) != 0 {
		t.Errorf("a span of %+v", <-begins)
	}
}

// Without tracing a client's trace goes nowhere.
func TestNoSpans(t *testing.T) {
	s := openDefault(t)
	s.do("GET", "/v1/consent", "", "Traceparent: "+parent, "Grpc-Metadata-Traceparent: "+parent)
	if md, _ := s.metadata(); len(md.Get("traceparent")) != 0 {
		t.Errorf("passed %v", md)
	}
}
