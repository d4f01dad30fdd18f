package link

import (
	"context"
	"net"
	"sync/atomic"
)

// trouble remembers why the last attempt to connect failed, in our own words.
// It is safe for concurrent use.
type trouble struct{ last atomic.Pointer[string] }

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
