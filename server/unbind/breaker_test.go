package unbind_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// ailing is a platform that gives the error while it is down.
func ailing(id platform.ID, e platform.CallError) (*peer, *atomic.Bool) {
	down := new(atomic.Bool)
	down.Store(true)
	p := &peer{id: id}
	p.unbind = func(context.Context, int) (platform.Report, error) {
		if down.Load() {
			return platform.Report{}, &e
		}
		return report(platform.StageCompleted, time.Now()), nil
	}
	return p, down
}

func gaps(calls []call) []time.Duration {
	var out []time.Duration
	for i := 1; i < len(calls); i++ {
		out = append(out, calls[i].at.Sub(calls[i-1].at))
	}
	return out
}

// TestDownPlatformCostsOneProbe: a thousand orders wait for a platform that is
// down. One of them is tried at a time, with growing pauses; the others wait as
// they are, and orders of other platforms don't notice. Once it is back all flow,
// oldest due first, at its rate.
func TestDownPlatformCostsOneProbe(t *testing.T) {
	dead, down := ailing("dead", platform.CallError{Code: "UNAVAILABLE"})
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	const n = 1000
	inHub(t, func(h *hub) {
		h.join(shop)
		looks := h.placeMany("waits", n, "dead")
		taken := time.Now()
		h.join(shop, dead)
		time.Sleep(time.Hour + time.Second)
		sent, _ := dead.calls()
		wave, probes := sent[:4], gaps(sent[3:]) // what was under way when the first three came back
		if !wave[3].at.Equal(wave[0].at) || dead.highest > 4 {
			h.Errorf("%d attempts at once", dead.highest)
		}
		for i, gap := range probes {
			if want := min(time.Second<<i, 5*time.Minute); gap != want {
				h.Fatalf("probe %d came after %v, want %v", i, gap, want)
			}
		}
		begin := time.Now()
		h.state(h.place("lucky", "shop")(), completed)
		if d := time.Since(begin); d != 0 {
			h.Errorf("an order at a healthy platform took %v", d)
		}
		attempts, untouched := 0, 0
		for _, look := range looks {
			o := look()
			attempts += o.Attempts
			if len(o.History) == 1 && o.NextTime.Equal(taken) {
				untouched++
			}
		}
		if attempts != len(sent) || untouched != n-len(sent) {
			h.Errorf("%d attempts in %d calls, %d orders untouched", attempts, len(sent), untouched)
		}
		f := h.now.Flow("dead")
		if f.Breaker != "OPEN" || !f.Until.After(time.Now()) || f.Failed != len(sent) || f.UnderWay != 0 {
			h.Errorf("flow: %+v", f)
		}
		down.Store(false)
		time.Sleep(6 * time.Minute)
		h.flowed(dead, looks, len(sent))
		if f := h.now.Flow("dead"); f.Breaker != "CLOSED" || f.Failed != 0 {
			h.Errorf("flow: %+v", f)
		}
	}, shop)
}

// flowed checks what came in after the first so many calls.
func (h *hub) flowed(p *peer, looks []func() unbind.Order, before int) {
	h.Helper()
	for _, look := range looks {
		h.state(look(), completed)
	}
	sent, _ := p.calls()
	since := sent[before:]
	if len(since) != len(looks) {
		h.Fatalf("%d calls for %d orders", len(since), len(looks))
	}
	first := slices.IndexFunc(since, func(c call) bool { return c.Attempt > 1 })
	for _, c := range since[first:] {
		if c.Attempt == 1 {
			h.Fatal("an order that was tried later went before one that was due first")
		}
	}
	h.keptRate(since)
}

// keptRate checks that within any second no more than the places and the rate
// allow came in.
func (h *hub) keptRate(calls []call) {
	h.Helper()
	from := 0
	for i, c := range calls {
		for c.at.Sub(calls[from].at) >= time.Second {
			from++
		}
		if n := i - from + 1; n > unbind.DefaultPerSecond+4 {
			h.Fatalf("%d attempts within a second", n)
		}
	}
}

// TestServingAgain: a platform whose connector answers probes again gets an order
// at once.
func TestServingAgain(t *testing.T) {
	dead, down := ailing("dead", platform.CallError{Code: "UNAVAILABLE"})
	inHub(t, func(h *hub) {
		looks := h.placeMany("waits", 20, "dead")
		time.Sleep(time.Hour)
		dead.is(platform.HealthNotServing)
		h.service.Wake()
		synctest.Wait()
		before, _ := dead.calls()
		down.Store(false)
		dead.is(platform.HealthServing)
		begin := time.Now()
		h.service.Wake()
		after, _ := dead.calls()
		if len(after) <= len(before) || time.Since(begin) != 0 {
			h.Fatalf("%d calls, then %d", len(before), len(after))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, look := range looks[10:] {
			h.state(look(), completed)
		}
	}, dead)
}

// TestSlowProbe: while a probe hangs nothing else is sent.
func TestSlowProbe(t *testing.T) {
	dead := &peer{id: "dead", unbind: hangs}
	inHub(t, func(h *hub) {
		h.placeMany("waits", 30, "dead")
		time.Sleep(25 * time.Second) // what began before the third failure has timed out
		synctest.Wait()
		dead.mu.Lock()
		dead.highest = 0
		dead.mu.Unlock()
		time.Sleep(time.Hour)
		if sent, _ := dead.calls(); dead.highest != 1 || len(sent) > 4+8+12 {
			h.Errorf("%d probes at once, %d calls", dead.highest, len(sent))
		}
	}, dead)
}

// TestAnswersKeepTheBreakerClosed: whatever the platform itself says, it is there.
func TestAnswersKeepTheBreakerClosed(t *testing.T) {
	for _, code := range []string{"INVALID_ARGUMENT", "FAILED_PRECONDITION", "INTERNAL", "PERMISSION_DENIED", "UNKNOWN"} {
		shop, _ := ailing("shop", platform.CallError{Code: code})
		inHub(t, func(h *hub) {
			h.placeMany("waits", 30, "shop")
			time.Sleep(900 * time.Millisecond) // before any comes a second time, but for the first
			tried := make(map[string]bool)
			sent, _ := shop.calls()
			for _, c := range sent {
				tried[c.OrderID] = true
			}
			if f := h.now.Flow("shop"); f.Breaker != "CLOSED" || len(tried) != 30 {
				h.Errorf("%s: %d tried, %+v", code, len(tried), f)
			}
		}, shop)
	}
}

// TestProbeThatWasNotSent: a probe whose order ends before it is sent lets the
// next order probe.
func TestProbeThatWasNotSent(t *testing.T) {
	dead, down := ailing("dead", platform.CallError{Code: "UNAVAILABLE"})
	c := &carrier{change: platform.ChangeNone}
	inHub(t, func(h *hub) {
		h.withCarrier(c)
		looks := h.placeMany("waits", 6, "dead")
		time.Sleep(time.Minute)
		c.say(platform.ChangeHands, nil)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		for _, look := range looks {
			h.state(look(), cancelled)
		}
		if f := h.now.Flow("dead"); f.Breaker == "HALF_OPEN" {
			h.Errorf("flow: %+v", f)
		}
		c.say(platform.ChangeNone, nil)
		down.Store(false)
		h.state(h.place("later", "dead")(), completed)
	}, dead)
}
