package server

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/verify"
)

// counters are what the hub's metrics count apart from the times they measure.
type counters struct {
	sms          *prometheus.CounterVec
	carrier      *prometheus.CounterVec
	lateAnswers  *prometheus.CounterVec
	lateMessages *prometheus.CounterVec
}

func newCounters() counters {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tongcha", Name: name, Help: help}, labels)
	}
	return counters{
		sms:          counter("sms_total", "Code messages by outcome: sent, failed, or unsure where the gateway may have it.", "outcome"),
		carrier:      counter("carrier_calls_total", "Questions to carriers by carrier and outcome: answered, failed, or left where the asker went away.", "carrier", "outcome"),
		lateAnswers:  counter("late_answers_total", "Answers of platforms that were silent at first and asked again.", "platform"),
		lateMessages: counter("late_messages_total", "Messages that the last late answer is in, by outcome as of code messages.", "outcome"),
	}
}

func (c counters) all() []prometheus.Collector {
	return []prometheus.Collector{c.sms, c.carrier, c.lateAnswers, c.lateMessages}
}

// smsOutcome is how a message ended.
func smsOutcome(err error) string {
	switch {
	case errors.Is(err, verify.ErrMaybeSent):
		return "unsure"
	case err != nil:
		return "failed"
	}
	return "sent"
}

// prepared is messages with every outcome at 0: a rate needs the 0 before the
// first.
func prepared(messages *prometheus.CounterVec) *prometheus.CounterVec {
	for _, outcome := range []string{"sent", "failed", "unsure"} {
		messages.WithLabelValues(outcome)
	}
	return messages
}

// countSender counts what a sender does.
func (c counters) countSender(s verify.Sender) verify.Sender {
	return countedSender{s, prepared(c.sms)}
}

type countedSender struct {
	verify.Sender
	total *prometheus.CounterVec
}

// SendCode implements verify.Sender.
func (s countedSender) SendCode(ctx context.Context, to phone.Number, code verify.Code, life time.Duration) error {
	err := s.Sender.SendCode(ctx, to, code, life)
	s.total.WithLabelValues(smsOutcome(err)).Inc()
	return err
}

// countNotifier counts what a notifier does; nil stays nil.
func (c counters) countNotifier(n lookup.Notifier) lookup.Notifier {
	if n == nil {
		return nil
	}
	return countedNotifier{n, prepared(c.lateMessages)}
}

type countedNotifier struct {
	lookup.Notifier
	total *prometheus.CounterVec
}

// LateAnswersIn implements lookup.Notifier.
func (n countedNotifier) LateAnswersIn(ctx context.Context, to phone.Number, asked time.Time) error {
	err := n.Notifier.LateAnswersIn(ctx, to, asked)
	n.total.WithLabelValues(smsOutcome(err)).Inc()
	return err
}

// observeLate counts an answer that came late.
func (c counters) observeLate(id platform.ID) { c.lateAnswers.WithLabelValues(string(id)).Inc() }

// countCarrier counts what a carrier answers.
func (c counters) countCarrier(id string, one platform.Carrier) platform.Carrier {
	for _, outcome := range []string{"answered", "failed", "left"} {
		c.carrier.WithLabelValues(id, outcome)
	}
	return countedCarrier{one, func(outcome string) { c.carrier.WithLabelValues(id, outcome).Inc() }}
}

type countedCarrier struct {
	platform.Carrier
	count func(outcome string)
}

// Attest implements platform.Carrier.
func (c countedCarrier) Attest(ctx context.Context, n phone.Number, s phone.IDSuffix) (platform.Attestation, time.Time, error) {
	a, at, err := c.Carrier.Attest(ctx, n, s)
	c.note(ctx, err)
	return a, at, err
}

// CheckHolder implements platform.Carrier.
func (c countedCarrier) CheckHolder(ctx context.Context, n phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	h, at, err := c.Carrier.CheckHolder(ctx, n, since)
	c.note(ctx, err)
	return h, at, err
}

// note counts a call. One that was cut off because another carrier had answered,
// or the person had left, says nothing about the carrier.
func (c countedCarrier) note(ctx context.Context, err error) {
	switch {
	case err == nil:
		c.count("answered")
	case errors.Is(ctx.Err(), context.Canceled):
		c.count("left")
	default:
		c.count("failed")
	}
}

// watch adds the figures that are read off the hub when they are scraped.
func (m *metrics) watch(h *Hub) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tongcha", Name: name, Help: help}, value))
	}
	gauge("ready", "1 while the hub takes requests, 0 while it is drained or stops.", func() float64 {
		if h.readiness() != nil {
			return 0
		}
		return 1
	})
	gauge("store_bytes", "Size of the database.", func() float64 { return float64(h.databaseSize()) })
	gauge("data_free_bytes", "What is free where the data folder lies; -1 where that can't be told.", func() float64 { return float64(h.freeSize()) })
	gauge("storage_full", "1 while new work is refused because less than --min-free is free, else 0.", func() float64 { return bit(h.room.full()) })
	gauge("calendar_end_timestamp_seconds", "Up to when public holidays are known.", func() float64 { return float64(h.pulse.calendarEnd.Unix()) })
	gauge("clock_jump_seconds", "How far the machine's clock was set forward since the start, or back where negative; the hub's own time does not follow.", func() float64 { return h.clock.Jump().Seconds() })
	m.registry.MustRegister(&certificateCollector{h: h, desc: prometheus.NewDesc(
		"tongcha_certificate_expiry_timestamp_seconds", "When a certificate of the hub's ends: hub, authority or http.", []string{"certificate"}, nil)})
}

// certificateCollector reads the ends of the certificates when they are scraped.
type certificateCollector struct {
	h    *Hub
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *certificateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *certificateCollector) Collect(ch chan<- prometheus.Metric) {
	for _, one := range c.h.certificates() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(one.Expire.Unix()), one.Name)
	}
}
