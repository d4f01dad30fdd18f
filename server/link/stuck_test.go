package link_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tongcha/tongcha/server/platform"
)

// A connector that was fast and then takes in nothing any more, under a load that
// fills what connection and stream hold, gets another stream: questions that could
// not even be sent are failures of its own.
func TestStreamThatGetsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var streams atomic.Int64
		w.streams(func(s streamServer) error {
			first := streams.Add(1) == 1
			for taken := 0; !first || taken < 40_000; {
				items, err := new(frames).next(s)
				if err != nil {
					return nil
				}
				for _, it := range items {
					_ = send(s, reply(it))
				}
				taken += len(items)
			}
			<-s.Context().Done()
			return nil
		}, grpc.StaticStreamWindowSize(64<<10))
		r, p := w.shop()
		for range 20 { // many at once, so that its limit grows
			for range 2500 {
				ask(t, p, 2500*time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if l, _ := r.Load("shop"); l.Limit < 2000 || l.Open < 1000 {
			t.Fatalf("it got stuck too early: %+v", l)
		}
		for range 1000 {
			ask(t, p, 2500*time.Millisecond)
			time.Sleep(20 * time.Millisecond)
		}
		if a := ask(t, p, time.Second).wait(); a.State != platform.Bound || streams.Load() != 2 {
			t.Errorf("%+v after %d streams", a, streams.Load())
		}
	})
}
