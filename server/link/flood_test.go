package link_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// A connector that answers as it should and pours in what nobody asked for is cut
// off, each time sooner than it can cost anything, and asked by the unary call.
func TestStreamThatFloods(t *testing.T) {
	for name, stray := range map[string][]*connectorv1.StreamAnswer{
		"answers to nothing":     list(&connectorv1.StreamAnswer{ItemId: 1 << 60, Answer: &connectorv1.SubjectAnswer{Accounts: several(50)}}),
		"frames without answers": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var streams, strays atomic.Int32
				w.streams(func(s streamServer) error {
					streams.Add(1)
					items, err := new(frames).next(s)
					if err != nil {
						return err
					}
					_ = send(s, reply(items[0]))
					for range 20_000 { // more than any buffer holds, but no hanging test
						if send(s, stray...) != nil {
							return nil
						}
						if strays.Add(1)%64 == 0 {
							time.Sleep(time.Millisecond)
						}
					}
					t.Error("it was never cut off")
					return nil
				})
				_, p := w.shop()
				for range 20 {
					if a := ask(t, p, time.Second).wait(); a.State != platform.Bound {
						t.Errorf("%+v", a)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := streams.Load(); n != 3 {
					t.Errorf("%d streams", n)
				}
				if n := strays.Load(); n > 3*1000 {
					t.Errorf("%d frames were sent", n)
				}
			})
		})
	}
}

// A stream on which every question is answered brings as many answers as it was
// asked for, however long it stands, and one now and then that nobody asked for.
func TestStreamIsNotCutForAFewStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, streams := newWorld(t), 0, 0
		w.streams(func(s streamServer) error {
			for streams++; ; {
				items, err := new(frames).next(s)
				if err != nil {
					return nil
				}
				for _, it := range items {
					if n++; n%10 == 0 {
						_ = send(s, reply(it)) // as well
					}
					_ = send(s, reply(it))
				}
			}
		})
		_, p := w.shop()
		for range 500 {
			if a := ask(t, p, time.Second).wait(); a.State != platform.Bound {
				t.Fatalf("%+v", a)
			}
		}
		if streams != 1 {
			t.Errorf("%d streams", streams)
		}
	})
}
