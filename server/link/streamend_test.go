package link_test

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// A stream that ends under a question costs nobody an answer; one that ends again
// and again does not keep the hub busy.
func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]error{"in order": nil, "with an error": status.Error(codes.Unavailable, "13800138000 is gone")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, f := newWorld(t), new(frames)
				var opened int
				w.streams(func(s streamServer) error {
					if opened++; opened == 1 {
						for range 3 {
							_, _ = f.next(s)
						}
						return end
					}
					return prompt(f, after(time.Millisecond))(s)
				})
				_, p := w.shop()
				for _, q := range fill(t, p, 3, time.Second) {
					if a := q.wait(); a.State != platform.Bound {
						t.Errorf("%+v", a)
					}
				}
				if opened != 2 {
					t.Errorf("%d streams", opened)
				}
			})
		})
	}
	t.Run("always", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var opened int
			s := w.streams(nil)
			s.serve = func(stream streamServer) error {
				opened++
				_, _ = stream.Recv()
				return errors.New("no")
			}
			_, p := w.shop()
			for i := range 20 {
				a := ask(t, p, time.Second).wait()
				if want := i >= mostBad; (a.State == platform.Bound) != want {
					t.Errorf("question %d: %+v", i, a)
				}
			}
			if opened > 3 {
				t.Errorf("%d streams, none of which brought anything", opened)
			}
		})
	})
}

// mostBad is how many questions may be lost before the unary call serves.
const mostBad = 1

// A frame that is too large or has too many parts ends the stream; its questions
// are the platform's fault, and not asked again.
func TestStreamBreach(t *testing.T) {
	for name, frame := range map[string]func(it *connectorv1.StreamItem) []*connectorv1.StreamAnswer{
		"a million parts": func(*connectorv1.StreamItem) []*connectorv1.StreamAnswer {
			return slices.Repeat(list(new(connectorv1.StreamAnswer)), 100_000)
		},
		"too large": func(it *connectorv1.StreamItem) []*connectorv1.StreamAnswer {
			a := reply(it)
			a.Answer.Accounts[0].Product = string(make([]byte, 300<<10))
			return list(a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, asked := newWorld(t), 0
				w.streams(func(s streamServer) error {
					for {
						r, err := s.Recv()
						if err != nil {
							return nil
						}
						asked += len(r.GetItems())
						_ = send(s, frame(r.GetItems()[0])...)
					}
				})
				_, p := w.shop()
				if a := ask(t, p, time.Second).wait(); a.State != platform.Silent || !a.Malformed {
					t.Errorf("%+v", a)
				}
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

// A connector that says it streams and does not is asked in the other way.
func TestStreamNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) { return streaming(), nil }})
		_, p := w.shop()
		for range 3 {
			if a := ask(t, p, time.Second).wait(); a.State != platform.Bound {
				t.Errorf("%+v", a)
			}
		}
	})
}

// A connector that takes nothing in any more holds nobody up.
func TestStreamThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.streams(func(s streamServer) error {
			<-s.Context().Done()
			return io.EOF
		})
		_, p := w.shop()
		var qs []*question
		for range 3000 { // more than the window takes
			qs = append(qs, ask(t, p, time.Second))
		}
		for _, q := range qs {
			if a := q.wait(); a.State != platform.Silent || a.Took > time.Second {
				t.Fatalf("%+v", a)
			}
		}
	})
}
