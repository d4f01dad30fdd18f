package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
)

// watch adds the figures that are read from the hub's parts when they are
// scraped, and so cost nothing in between.
func (m *metrics) watch(h *Hub) {
	m.registry.MustRegister(newAdmissionCollector(h.rpc.Admission), newPlatformCollector(h.catalogue.All))
}

// figure is one metric of a collector.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newFigure(kind prometheus.ValueType, name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc("tongcha_"+name, help, labels, nil), kind}
}

func (f figure) send(ch chan<- prometheus.Metric, value int, labels ...string) {
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(value), labels...)
}

// admissionCollector reads how much new work there is.
type admissionCollector struct {
	read                                   func() rpc.Admission
	running, most, calls, places, rejected figure
}

func newAdmissionCollector(read func() rpc.Admission) *admissionCollector {
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	return &admissionCollector{
		read:     read,
		running:  newFigure(gauge, "lookups_running", "Lookups under way, until their last answer is stored."),
		most:     newFigure(gauge, "lookups_running_limit", "How many may be under way: --max-lookups."),
		calls:    newFigure(gauge, "admission_calls", "Calls that make new work, under way, by kind.", "kind"),
		places:   newFigure(gauge, "admission_calls_limit", "How many calls of each kind may be under way now; it shrinks while recording new work is slow."),
		rejected: newFigure(counter, "admission_rejected_total", "New work refused, by kind and by what was full: running, calls or address.", "kind", "cause"),
	}
}

// Describe implements prometheus.Collector.
func (c *admissionCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range []figure{c.running, c.most, c.calls, c.places, c.rejected} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *admissionCollector) Collect(ch chan<- prometheus.Metric) {
	a := c.read()
	c.running.send(ch, a.Running)
	c.most.send(ch, a.MaxRunning)
	c.places.send(ch, a.Places)
	for kind, n := range a.Calls {
		c.calls.send(ch, n, kind)
	}
	for _, r := range a.Rejected {
		c.rejected.send(ch, r.Count, r.Kind, r.Cause)
	}
}

// platformCollector reads what is known of the platforms that have joined.
type platformCollector struct {
	read                         func() []platform.Info
	serving, suspended, lastSeen figure
}

func newPlatformCollector(read func() []platform.Info) *platformCollector {
	gauge := prometheus.GaugeValue
	return &platformCollector{
		read:      read,
		serving:   newFigure(gauge, "platform_serving", "1 while a joined platform answers probes, else 0.", "platform"),
		suspended: newFigure(gauge, "platform_suspended", "1 while an operator keeps a joined platform from being asked.", "platform"),
		lastSeen:  newFigure(gauge, "platform_last_seen_seconds", "When a joined platform last answered, in Unix time; 0 for never.", "platform"),
	}
}

// Describe implements prometheus.Collector.
func (c *platformCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range []figure{c.serving, c.suspended, c.lastSeen} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *platformCollector) Collect(ch chan<- prometheus.Metric) {
	for _, i := range c.read() {
		if i.Address == "" {
			continue
		}
		id, seen := string(i.ID), 0
		if !i.LastSeen.IsZero() {
			seen = int(i.LastSeen.Unix())
		}
		c.serving.send(ch, bit(i.Health == platform.HealthServing), id)
		c.suspended.send(ch, bit(i.Suspended), id)
		c.lastSeen.send(ch, seen, id)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
