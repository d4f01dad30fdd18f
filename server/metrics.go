package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc/codes"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// metrics are the hub's figures for its operator. No label holds anything a
// person typed: routes are templates, platforms are catalogued ids.
type metrics struct {
	counters
	registry *prometheus.Registry
	http     *prometheus.HistogramVec
	rpc      *prometheus.HistogramVec
	answers  *prometheus.HistogramVec
	attempts *prometheus.HistogramVec
	steps    *prometheus.HistogramVec
}

func newMetrics(orders func(context.Context) (map[platform.ID]coverage.Orders, error)) *metrics {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tongcha", Name: name, Help: help, Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, labels)
	}
	m := &metrics{
		counters: newCounters(),
		registry: prometheus.NewRegistry(),
		http:     histogram("http_request_seconds", "REST requests by route and status.", "route", "code"),
		rpc:      histogram("grpc_call_seconds", "gRPC calls by method and code.", "method", "code"),
		answers:  histogram("platform_answer_seconds", "Lookup questions by platform and outcome.", "platform", "outcome"),
		attempts: histogram("unbind_attempt_seconds", "Unbind attempts by platform and outcome.", "platform", "outcome"),
		steps:    histogram("record_seconds", "How long the store took to record new work, waiting for other writers included, by kind.", "kind"),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.http, m.rpc, m.answers, m.attempts, m.steps, &orderCollector{orders: orders, desc: prometheus.NewDesc(
			"tongcha_orders", "Unbind orders by platform and state; overdue ones are counted in their state too.", []string{"platform", "state"}, nil)})
	m.registry.MustRegister(m.all()...)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) observeHTTP(route string, code int, d time.Duration) {
	m.http.WithLabelValues(route, strconv.Itoa(code)).Observe(d.Seconds())
}

func (m *metrics) observeRPC(method string, code codes.Code, d time.Duration) {
	m.rpc.WithLabelValues(method, code.String()).Observe(d.Seconds())
}

func (m *metrics) observeAnswer(id platform.ID, a platform.Answer) {
	outcome := "silent"
	switch {
	case a.Malformed:
		outcome = "malformed"
	case a.State.Answered():
		outcome = "answered"
	}
	m.answers.WithLabelValues(string(id), outcome).Observe(a.Took.Seconds())
}

func (m *metrics) observeAttempt(id platform.ID, outcome string, d time.Duration) {
	m.attempts.WithLabelValues(string(id), outcome).Observe(d.Seconds())
}

// orderCollector reads the order counts when they are scraped.
type orderCollector struct {
	orders func(context.Context) (map[platform.ID]coverage.Orders, error)
	desc   *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *orderCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *orderCollector) Collect(ch chan<- prometheus.Metric) {
	by, err := c.orders(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.desc, err)
		return
	}
	for id, o := range by {
		for state, n := range map[string]int64{
			"queued": o.Queued, "in_review": o.InReview, "completed": o.Completed, "refused": o.Refused,
			"abandoned": o.Abandoned, "cancelled": o.Cancelled, "overdue": o.Overdue,
		} {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(id), state)
		}
	}
}
