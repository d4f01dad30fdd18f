package unbind_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// TestPause: what is being sent goes on to its end, what is queued waits however
// long, and is sent at once when the pause ends.
func TestPause(t *testing.T) {
	var release chan struct{} // made in the bubble
	shop := &peer{id: "shop"}
	shop.unbind = func(ctx context.Context, n int) (platform.Report, error) {
		if n == 0 {
			<-release
		}
		return report(platform.StageCompleted, time.Now()), nil
	}
	inHub(t, func(h *hub) {
		release = make(chan struct{})
		first := h.place("alice", "shop")
		h.state(first(), sending)
		h.now.SetPaused(true)
		second := h.place("bob", "shop")
		h.state(second(), queued)
		if n := h.now.UnderWay(); n != 1 {
			h.Errorf("%d attempts under way, want 1", n)
		}
		close(release)
		synctest.Wait()
		h.state(first(), completed)
		if n := h.now.UnderWay(); n != 0 {
			h.Errorf("%d attempts under way, want none", n)
		}
		time.Sleep(time.Hour)
		h.state(second(), queued)
		begin := time.Now()
		h.now.SetPaused(false)
		synctest.Wait()
		h.state(second(), completed)
		if took := time.Since(begin); took != 0 {
			h.Errorf("sent %v after the pause", took)
		}
	}, shop)
}
