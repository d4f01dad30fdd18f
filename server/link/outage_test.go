package link_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// found is the promise: so long after a network has healed a platform is served
// again.
const found = 20 * time.Second

// cable is a network that can be cut. Nobody is told: what is sent is gone, who
// reads or connects waits. Connections that were cut never come back, as where a
// proxy has forgotten them.
type cable struct {
	w *world

	mu    sync.Mutex
	cut   bool
	conns []*cabled
	dials atomic.Int64
}

// cabled is one connection over the cable.
type cabled struct {
	net.Conn
	cable *cable
	dead  bool          // guarded by the cable's mutex
	done  chan struct{} // closed with the hub's end
	once  sync.Once
}

func (c *cable) dial(ctx context.Context, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials.Add(1)
	if c.cut {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return nil, ctx.Err()
	}
	conn, err := c.w.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	one := &cabled{Conn: timeless{conn}, cable: c, done: make(chan struct{})}
	c.conns = append(c.conns, one)
	return one, nil
}

// set cuts the cable or mends it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, one := range c.conns {
		one.dead = one.dead || cut
	}
}

func (c *cabled) isDead() bool {
	c.cable.mu.Lock()
	defer c.cable.mu.Unlock()
	return c.dead
}

// Read implements net.Conn.
func (c *cabled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.isDead() {
		<-c.done
		return 0, net.ErrClosed
	}
	return n, err
}

// Write implements net.Conn.
func (c *cabled) Write(p []byte) (int, error) {
	if c.isDead() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *cabled) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// A network that swallows everything for a minute or an hour: whenever it heals,
// the platform is found again in time, over a connection of its own, and whoever
// waits for that is told.
func TestSilentPartition(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, time.Hour} {
		for shift := range 20 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				net := &cable{w: w}
				var told atomic.Int64
				w.connector(&connector{})
				_, p := w.shop(func(o *link.Options) {
					o.Dialer, o.OnServing = net.dial, func(platform.ID) { told.Add(1) }
				})
				time.Sleep(time.Minute)
				net.set(true)
				time.Sleep(outage + time.Duration(shift)*time.Second)
				if i := p.Info(); i.Health != platform.HealthNotServing || told.Load() != 1 {
					t.Errorf("%+v, told %d times", i, told.Load())
				}
				if most := 6 + int(outage/longestWait); net.dials.Load() > int64(most) {
					t.Errorf("%d attempts to connect, want %d at most", net.dials.Load(), most)
				}
				net.set(false)
				time.Sleep(found)
				synctest.Wait()
				if i := p.Info(); i.Health != platform.HealthServing || told.Load() != 2 {
					t.Errorf("%v after an outage of %v and %d s: %+v, told %d times", found, outage, shift, i, told.Load())
				}
			})
		}
	}
}

// longestWait is the shortest of the long pauses between attempts to connect.
const longestWait = 8 * time.Second

// A platform that is back is described as soon as it can be reached, and one that
// is gone is known to be at once, not with the next probe.
func TestProbedWhenTheConnectionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.connector(&connector{})
		_, p := w.shop(func(o *link.Options) { o.ProbeEvery = time.Hour })
		stop()
		time.Sleep(3 * time.Second)
		if i := p.Info(); i.Health != platform.HealthNotServing {
			t.Errorf("a few seconds after it went: %+v", i)
		}
		w.connector(&connector{})
		time.Sleep(5 * time.Second)
		if i := p.Info(); i.Health != platform.HealthServing {
			t.Errorf("a few seconds after it came back: %+v", i)
		}
	})
}

// A connector that never answers Describe, but other calls, keeps its connection:
// their answers come over it.
func TestOnlyADeadConnectionIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		net, hangs := &cable{w: w}, make(chan struct{})
		defer close(hangs)
		var calls atomic.Int64
		w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) {
			if calls.Add(1) > 1 {
				<-hangs
			}
			return description(), nil
		}})
		_, p := w.shop(func(o *link.Options) { o.Dialer = net.dial })
		for range 100 {
			time.Sleep(10 * time.Second)
			if a := ask(t, p, time.Second).wait(); a.State != platform.Bound {
				t.Fatalf("%+v", a)
			}
		}
		if net.dials.Load() != 1 || p.Info().Health != platform.HealthNotServing {
			t.Errorf("%d connections, %+v", net.dials.Load(), p.Info())
		}
	})
}

// A peer that ends every connection as soon as it is there is neither connected to
// nor probed as fast as it can.
func TestPeerThatEndsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		peer := &rawPeer{opened: func(c *rawConn) bool {
			_ = c.Close()
			return true
		}}
		w.raw(peer)
		_, p := w.shop(w.timeless)
		time.Sleep(10 * time.Minute)
		if n := peer.conns.Load(); n < 10 || n > 250 || p.Info().Health != platform.HealthNotServing {
			t.Errorf("%d connections in ten minutes, %+v", n, p.Info())
		}
	})
}

// Nor is one that describes itself each time and then ends the connection.
func TestPeerThatEndsConnectionsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		net := &cable{w: w}
		var described atomic.Int64
		w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) {
			described.Add(1)
			time.AfterFunc(100*time.Millisecond, net.hangUp)
			return description(), nil
		}})
		w.shop(func(o *link.Options) { o.Dialer = net.dial })
		time.Sleep(10 * time.Minute)
		if n := described.Load(); n < 30 || n > 45 {
			t.Errorf("described %d times in ten minutes", n)
		}
	})
}

// hangUp ends every connection.
func (c *cable) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.conns {
		_ = one.Close()
	}
	c.conns = nil
}
