package link

import (
	"context"
	"net"
	"sync/atomic"
)

// trouble remembers why the last attempt to connect failed, in our own words, and
// the connection that came of the last one that didn't. It is safe for concurrent
// use.
type trouble struct {
	last atomic.Pointer[string]
	conn atomic.Pointer[heard]
}

// heard is a connection that counts how often something came in.
type heard struct {
	net.Conn
	times atomic.Uint64
}

// Read implements net.Conn.
func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.times.Add(1)
	}
	return n, err
}

// count is how often something came in; 0 where there was never a connection.
func (h *heard) count() uint64 {
	if h == nil {
		return 0
	}
	return h.times.Load()
}

func (t *trouble) set(problem string) { t.last.Store(&problem) }

// text is the problem; empty where the last attempt succeeded or none was made.
func (t *trouble) text() string {
	if p := t.last.Load(); p != nil {
		return *p
	}
	return ""
}

// watch notes the failures of a dialer.
func (t *trouble) watch(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			t.set(dialProblem(err))
		}
		return conn, err
	}
}
