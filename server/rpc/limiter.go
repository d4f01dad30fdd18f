package rpc

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds calls per platform. Platforms are few, so none is forgotten.
type limiter struct {
	limit rate.Limit
	mu    sync.Mutex
	by    map[string]*rate.Limiter
}

func newLimiter(l rate.Limit) *limiter { return &limiter{limit: l, by: make(map[string]*rate.Limiter)} }

// wait is how long the caller has to wait; 0 lets the call through. A limit of 0
// is none.
func (l *limiter) wait(id string) time.Duration {
	if l.limit <= 0 {
		return 0
	}
	l.mu.Lock()
	r := l.by[id]
	if r == nil {
		r = rate.NewLimiter(l.limit, max(int(l.limit), 1))
		l.by[id] = r
	}
	l.mu.Unlock()
	res := r.Reserve()
	d := res.Delay()
	if d > 0 {
		res.Cancel()
	}
	return d
}
