package link

import (
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Counts adds up what was asked of a platform since it joined.
type Counts struct {
	Asked  int64 // calls
	Sent   int64 // questions over the wire, hedges and repeats too
	Hedged int64 // second copies of slow questions
	Frames int64 // calls or frames that carried them
}

// Load is how busy a platform is, as the hub sees it.
type Load struct {
	Breaker string    // "CLOSED", "OPEN" (it is not asked) or "HALF_OPEN" (one question decides)
	Until   time.Time // OPEN: when the next question may go; else zero
	Waiting int       // calls not sent yet
	Open    int       // questions sent and not answered
	Limit   int       // questions that may be open, as it is now
	P95     time.Duration
	Stream  bool // lookups go over a stream
	Counts  Counts
}

// Load says how busy a platform is; false for one that hasn't joined.
func (r *Roster) Load(id platform.ID) (Load, bool) {
	r.mu.Lock()
	one, ok := r.remotes[id]
	r.mu.Unlock()
	if !ok {
		return Load{}, false
	}
	l := one.queue.load()
	l.Stream = one.stream.Load() != nil
	return l, true
}

func (q *queue) load() Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Load{
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
