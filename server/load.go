package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
)

// watchLoad adds the figures of how busy the hub and its platforms are. They are
// read when they are scraped, and cost nothing in between.
func (m *metrics) watchLoad(h *Hub) {
	m.registry.MustRegister(newAdmissionCollector(h.rpc.Admission), newPlatformCollector(h.catalogue.All, h.catalogue.Load),
		newFlowCollector(h.catalogue.All, h.dispatch.Flow))
}

// figure is one metric of a collector.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newFigure(kind prometheus.ValueType, name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc("tongcha_"+name, help, labels, nil), kind}
}

func (f figure) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
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
	c.running.send(ch, float64(a.Running))
	c.most.send(ch, float64(a.MaxRunning))
	c.places.send(ch, float64(a.Places))
	for kind, n := range a.Calls {
		c.calls.send(ch, float64(n), kind)
	}
	for _, r := range a.Rejected {
		c.rejected.send(ch, float64(r.Count), r.Kind, r.Cause)
	}
}

// platformCollector reads what is known of the platforms that have joined, and
// how busy they are. Labels are catalogued ids, so they are as many as platforms.
type platformCollector struct {
	all                               func() []platform.Info
	load                              func(platform.ID) (platform.Load, bool)
	serving, suspended, seen, breaker figure
	waiting, open, limit, p95         figure
	asked, sent, hedged, frames       figure
}

func newPlatformCollector(all func() []platform.Info, load func(platform.ID) (platform.Load, bool)) *platformCollector {
	gauge := func(name, help string, more ...string) figure {
		return newFigure(prometheus.GaugeValue, "platform_"+name, help, append([]string{"platform"}, more...)...)
	}
	counter := func(name, help string) figure {
		return newFigure(prometheus.CounterValue, "platform_"+name, help, "platform")
	}
	return &platformCollector{
		all: all, load: load,
		serving:   gauge("serving", "1 while a joined platform answers probes, else 0."),
		suspended: gauge("suspended", "1 while an operator keeps a joined platform from being asked."),
		seen:      gauge("last_seen_seconds", "When a joined platform last answered, in Unix time; 0 for never."),
		breaker:   gauge("breaker", "1 for the state of the platform's breaker, 0 for the others: closed, open (it is not asked), half_open.", "state"),
		waiting:   gauge("waiting", "Lookup questions not sent yet."),
		open:      gauge("in_flight", "Lookup questions sent and not answered."),
		limit:     gauge("in_flight_limit", "How many lookup questions may be in flight, as it is now."),
		p95:       gauge("p95_seconds", "How long 95 of 100 lookup questions took at most, of late; 0 where too few are known."),
		asked:     counter("asked_total", "Lookup questions asked since the platform joined."),
		sent:      counter("sent_total", "Lookup questions sent over the wire, hedges and repeats too."),
		hedged:    counter("hedged_total", "Second copies of slow lookup questions."),
		frames:    counter("frames_total", "Calls or frames that carried lookup questions."),
	}
}

func (c *platformCollector) figures() []figure {
	return []figure{c.serving, c.suspended, c.seen, c.breaker, c.waiting, c.open, c.limit, c.p95, c.asked, c.sent, c.hedged, c.frames}
}

// Describe implements prometheus.Collector.
func (c *platformCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.figures() {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *platformCollector) Collect(ch chan<- prometheus.Metric) {
	for _, i := range c.all() {
		l, joined := c.load(i.ID)
		if !joined {
			continue
		}
		id, seen := string(i.ID), 0.0
		if !i.LastSeen.IsZero() {
			seen = float64(i.LastSeen.Unix())
		}
		c.serving.send(ch, bit(i.Health == platform.HealthServing), id)
		c.suspended.send(ch, bit(i.Suspended), id)
		c.seen.send(ch, seen, id)
		for _, state := range []string{"closed", "open", "half_open"} {
			c.breaker.send(ch, bit(strings.EqualFold(l.Breaker, state)), id, state)
		}
		c.waiting.send(ch, float64(l.Waiting), id)
		c.open.send(ch, float64(l.Open), id)
		c.limit.send(ch, float64(l.Limit), id)
		c.p95.send(ch, l.P95.Seconds(), id)
		c.asked.send(ch, float64(l.Counts.Asked), id)
		c.sent.send(ch, float64(l.Counts.Sent), id)
		c.hedged.send(ch, float64(l.Counts.Hedged), id)
		c.frames.send(ch, float64(l.Counts.Frames), id)
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
