package unbind_test

import (
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// TestSnoozeCostsNoAttempt: a platform that says when to come back is asked then,
// within reason, and no attempt is counted.
func TestSnoozeCostsNoAttempt(t *testing.T) {
	for _, tt := range []struct {
		code      string
		says, gap time.Duration
	}{
		{"RESOURCE_EXHAUSTED", 10 * time.Minute, 10 * time.Minute},
		{"UNAVAILABLE", 10 * time.Minute, 10 * time.Minute},
		{"RESOURCE_EXHAUSTED", -1, time.Second},
		{"UNAVAILABLE", 10 * 365 * 24 * time.Hour, 24 * time.Hour},
	} {
		shop := &peer{id: "shop", unbind: failing(2, platform.CallError{Code: tt.code, RetryAfter: tt.says}, says(platform.StageCompleted))}
		inHub(t, func(h *hub) {
			look := h.place("alice", "shop")
			time.Sleep(3 * tt.gap)
			o := look()
			h.state(o, completed)
			sent, _ := shop.calls()
			if len(sent) != 3 || o.Attempts != 1 {
				h.Fatalf("%s: sent %d times, %d attempts; want 3 and 1", tt.code, len(sent), o.Attempts)
			}
			for i, gap := range gaps(sent) {
				if gap != tt.gap || sent[i].Attempt != 1 {
					h.Errorf("%s: sent again after %v as attempt %d", tt.code, gap, sent[i].Attempt)
				}
			}
		}, shop)
	}
}

// TestAwayUntil: a platform that says until when it is away is left alone by all
// its orders, for an hour at most.
func TestAwayUntil(t *testing.T) {
	for said, gap := range map[time.Duration]time.Duration{30 * time.Minute: 30 * time.Minute, 10 * time.Hour: time.Hour} {
		shop, _ := ailing("shop", platform.CallError{Code: "UNAVAILABLE", RetryAfter: said})
		inHub(t, func(h *hub) {
			h.join()
			looks := h.placeMany("waits", 20, "shop")
			h.join(shop)
			time.Sleep(2*gap + time.Second)
			sent, _ := shop.calls()
			if got := gaps(sent[3:]); len(got) != 2 || got[0] != gap || got[1] != gap {
				h.Fatalf("asked again after %v", got)
			}
			for _, look := range looks {
				if o := look(); o.Attempts != 0 {
					h.Errorf("%d attempts", o.Attempts)
				}
			}
		}, shop)
	}
}

// TestNextPollClamps: what a platform wishes for is kept within reason.
func TestNextPollClamps(t *testing.T) {
	now := time.Now()
	for wish, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Second, time.Hour: time.Hour, 10 * 365 * 24 * time.Hour: 24 * time.Hour, 0: 2 * time.Second,
	} {
		if got := unbind.NextPoll(now, 0, wish).Sub(now); got != want {
			t.Errorf("a wish of %v gave %v, want %v", wish, got, want)
		}
	}
	if got := unbind.NextPoll(now, 1000, 0).Sub(now); got != time.Hour {
		t.Errorf("after a thousand polls: %v", got)
	}
}
