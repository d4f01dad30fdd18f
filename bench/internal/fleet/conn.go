package fleet

import (
	"net"
	"sync"
	"time"
)

// queue is a listener whose connections are handed to it.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept takes the next connection.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr is the platform's address.
func (q *queue) Addr() net.Addr { return q.addr }

// tracked is a connection that its platform can close.
type tracked struct {
	net.Conn
	p      *platform
	once   sync.Once
	closed chan struct{}
}

// Write counts what it writes.
func (c *tracked) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.p.sent.Add(int64(n))
	return n, err
}

// Close closes and forgets the connection.
func (c *tracked) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.p.mu.Lock()
	delete(c.p.conns, c)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

// dripping is a connection that writes one byte in a second once free bytes have
// passed. One goroutine writes at a time, as TLS does.
type dripping struct {
	*tracked
	free int
}

// Write takes as many seconds as there are bytes left.
func (c *dripping) Write(b []byte) (n int, err error) {
	if now := min(c.free, len(b)); now > 0 {
		c.free -= now
		if n, err = c.tracked.Write(b[:now]); err != nil {
			return n, err
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n < len(b) {
		select {
		case <-tick.C:
		case <-c.closed:
			return n, net.ErrClosed
		}
		one, err := c.tracked.Write(b[n : n+1])
		if n += one; err != nil {
			return n, err
		}
	}
	return n, nil
}
