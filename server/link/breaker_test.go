package link

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// A probe that waits in vain for the connection has failed: the platform rests
// before the next person waits for it.
func TestProbeThatIsNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := &queue{ctx: ctx, most: 8, size: func() int { return 8 }}
		q.courier = func() courier { <-ctx.Done(); return &batches{q: q} }
		q.start()
		defer func() { q.shut(); cancel(); q.running.Wait() }()
		q.breaker.state = open
		c := &platform.Call{Deadline: time.Now().Add(time.Second), Done: func(*platform.Call) {}}
		q.ask(c)
		time.Sleep(time.Second)
		synctest.Wait()
		if l := q.load(); !c.Finished() || l.Breaker != "OPEN" || time.Until(l.Until) != firstRest {
			t.Errorf("%+v", l)
		}
	})
}
