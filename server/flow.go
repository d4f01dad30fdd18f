package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// flowCollector reads how orders go to the platforms that have joined, when it
// is scraped.
type flowCollector struct {
	all               func() []platform.Info
	flow              func(platform.ID) unbind.Flow
	breaker, underWay figure
}

func newFlowCollector(all func() []platform.Info, flow func(platform.ID) unbind.Flow) *flowCollector {
	return &flowCollector{
		all: all, flow: flow,
		breaker: newFigure(prometheus.GaugeValue, "unbind_breaker",
			"1 for the state of the platform's breaker for orders, 0 for the others: closed, open (its orders wait), half_open.", "platform", "state"),
		underWay: newFigure(prometheus.GaugeValue, "unbind_attempts_under_way", "Attempts at orders under way.", "platform"),
	}
}

// Describe implements prometheus.Collector.
func (c *flowCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.breaker.desc
	ch <- c.underWay.desc
}

// Collect implements prometheus.Collector.
func (c *flowCollector) Collect(ch chan<- prometheus.Metric) {
	for _, i := range c.all() {
		if i.Address == "" {
			continue
		}
		f := c.flow(i.ID)
		for _, state := range []string{"closed", "open", "half_open"} {
			c.breaker.send(ch, bit(strings.EqualFold(f.Breaker, state)), string(i.ID), state)
		}
		c.underWay.send(ch, float64(f.UnderWay), string(i.ID))
	}
}
