package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/verify"
)

// failing is a sender and a carrier that fails with err, or not at all.
type failing struct{ err error }

func (f failing) SendCode(context.Context, phone.Number, verify.Code, time.Duration) error {
	return f.err
}

func (f failing) LateAnswersIn(context.Context, phone.Number, time.Time) error { return f.err }

func (f failing) Attest(context.Context, phone.Number, phone.IDSuffix) (platform.Attestation, time.Time, error) {
	return platform.AttestMatch, time.Unix(1, 0), f.err
}

func (f failing) CheckHolder(context.Context, phone.Number, time.Time) (platform.HolderChange, time.Time, error) {
	return platform.ChangeNone, time.Unix(2, 0), f.err
}

// count reads a counter by its name and the value of its last label.
func count(t *testing.T, c prometheus.Collector, outcome string) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v %v", families, err)
	}
	for _, m := range families[0].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "outcome" && l.GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

// TestCountSender: what the gateway did is counted and passed on as it is, codes
// and messages about late answers apart; an
// outcome that never was shows as 0, so that a rate sees the first.
func TestCountSender(t *testing.T) {
	broken := errors.New("broken")
	for outcome, err := range map[string]error{"sent": nil, "failed": broken, "unsure": verify.ErrMaybeSent} {
		c := newCounters()
		if got := c.countSender(failing{err}).SendCode(t.Context(), phone.Number{}, verify.Code{}, 0); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		if got := c.countNotifier(failing{err}).LateAnswersIn(t.Context(), phone.Number{}, time.Time{}); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		for _, o := range []string{"sent", "failed", "unsure"} {
			want := 0.0
			if o == outcome {
				want = 1
			}
			if codes, late := count(t, c.sms, o), count(t, c.lateMessages, o); codes != want || late != want {
				t.Errorf("after %s: %s is %v and %v, want %v", outcome, o, codes, late, want)
			}
		}
	}
	if n := newCounters().countNotifier(nil); n != nil {
		t.Errorf("without a notifier there is %v", n)
	}
}

// TestCountCarrier: a question that nobody waited for any more says nothing about
// the carrier; one that ran out of time does.
func TestCountCarrier(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	broken := &platform.CallError{Code: "UNAVAILABLE"}
	for _, row := range []struct {
		ctx     context.Context
		err     error
		outcome string
	}{{t.Context(), nil, "answered"}, {left, nil, "answered"}, {t.Context(), broken, "failed"}, {late, broken, "failed"}, {left, broken, "left"}} {
		c := newCounters()
		one := c.countCarrier("telco", failing{row.err})
		a, since, err := one.Attest(row.ctx, phone.Number{}, phone.IDSuffix{})
		if a != platform.AttestMatch || since.Unix() != 1 || !errors.Is(err, row.err) {
			t.Errorf("attested %v %v %v", a, since, err)
		}
		h, at, err := one.CheckHolder(row.ctx, phone.Number{}, time.Time{})
		if h != platform.ChangeNone || at.Unix() != 2 || !errors.Is(err, row.err) {
			t.Errorf("checked %v %v %v", h, at, err)
		}
		for _, o := range []string{"answered", "failed", "left"} {
			want := 0.0
			if o == row.outcome {
				want = 2
			}
			if n := count(t, c.carrier, o); n != want {
				t.Errorf("%+v: %s is %v, want %v", row, o, n, want)
			}
		}
	}
}

// TestMetricsAreOurs: what a hub shows of itself begins with its name.
func TestMetricsAreOurs(t *testing.T) {
	for name := range registered(t) {
		if !strings.HasPrefix(name, "tongcha_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s", name)
		}
	}
}
