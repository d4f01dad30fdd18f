package link_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// TestTimesGoByTheHubsClock: the times of answers and reports are held against the
// hub's clock, when the machine's is set; an answer that is right by the machine's
// is right too.
func TestTimesGoByTheHubsClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, off := range []time.Duration{year, -year} {
		for _, row := range []struct {
			at   time.Duration // of the answer, from the machine's clock
			want platform.State
		}{
			{off, platform.Bound}, {0, platform.Bound}, {off - 61*time.Minute, platform.Silent}, {off + 11*time.Minute, platform.Silent}, {off / 2, platform.Silent},
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				said := func() *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(row.at)) }
				w.connector(&connector{
					lookup: func(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
						out := answers(r, bound)
						out.Answers[0].AnswerTime = said()
						return out, nil
					},
				})
				_, p := w.shop(func(o *link.Options) { o.Now = func() time.Time { return time.Now().Add(off) } })
				q := newQuestion(t, time.Second)
				p.Ask(&q.Call)
				if a := q.wait(); a.State != row.want || a.Malformed != (row.want == platform.Silent) {
					t.Errorf("the hub %v from the machine, an answer %v from it: %+v", off, row.at, a)
				}
			})
		}
	}
}
