package link

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Load says how busy a platform is; false for one that hasn't joined.
func (r *Roster) Load(id platform.ID) (platform.Load, bool) {
	r.mu.Lock()
	one, ok := r.remotes[id]
	r.mu.Unlock()
	if !ok {
		return platform.Load{}, false
	}
	l := one.queue.load()
	l.Stream = one.streaming()
	return l, true
}

func (q *queue) load() platform.Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return platform.Load{
		Breaker: q.breaker.state.String(), Until: q.breaker.until, Waiting: q.waiting.n, Open: q.open.n,
		Limit: int(q.limiter.limit), P95: q.latency.percentile(hedgeAt), Counts: q.counts,
	}
}

// serves is told that the connector describes itself soundly again.
func (q *queue) serves() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.breaker.hint(time.Now())
}
