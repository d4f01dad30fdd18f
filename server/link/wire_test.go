package link_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

type lookupResponse = connectorv1.LookupBindingsResponse

// breakages are what a peer may do to a lookup instead of answering it. Those
// that are true are answers outside the contract.
func breakages() map[string]struct {
	malformed bool
	asked     func(*rawConn, uint32, *lookupResponse)
} {
	type breakage = struct {
		malformed bool
		asked     func(*rawConn, uint32, *lookupResponse)
	}
	begun := func(malformed bool, then func(c *rawConn, s uint32, good *lookupResponse)) breakage {
		return breakage{malformed, func(c *rawConn, s uint32, good *lookupResponse) { c.head(s); then(c, s, good) }}
	}
	atOnce := func(then func(c *rawConn, s uint32)) breakage {
		return breakage{false, func(c *rawConn, s uint32, _ *lookupResponse) { then(c, s) }}
	}
	return map[string]breakage{
		"an error after the answer": begun(false, func(c *rawConn, s uint32, good *lookupResponse) { c.message(s, good); c.end(s, "13", "no "+number) }),
		"no status":                 begun(false, func(c *rawConn, s uint32, good *lookupResponse) { c.frame(kindData, endStream, s, message(good)) }),
		"a status of no number":     begun(false, func(c *rawConn, s uint32, good *lookupResponse) { c.message(s, good); c.end(s, number, "") }),
		"OK without an answer":      begun(false, func(c *rawConn, s uint32, _ *lookupResponse) { c.end(s, "0", "") }),
		"two answers": begun(false, func(c *rawConn, s uint32, good *lookupResponse) {
			c.message(s, good)
			c.message(s, good)
			c.end(s, "0", "")
		}),
		"half an answer": begun(false, func(c *rawConn, s uint32, good *lookupResponse) {
			c.frame(kindData, 0, s, message(good)[:20])
			c.end(s, "0", "")
		}),
		"half, then the line is cut": begun(false, func(c *rawConn, s uint32, good *lookupResponse) {
			c.frame(kindData, 0, s, message(good)[:20])
			_ = c.Close()
		}),
		"2 GiB announced": begun(true, func(c *rawConn, s uint32, _ *lookupResponse) {
			c.frame(kindData, 0, s, []byte{0, 0x7f, 0xff, 0xff, 0xff})
		}),
		"no protobuf": begun(true, func(c *rawConn, s uint32, _ *lookupResponse) {
			c.frame(kindData, 0, s, []byte{0, 0, 0, 0, 1, 0xff})
			c.end(s, "0", "")
		}),
		"dripping":         begun(false, func(c *rawConn, s uint32, good *lookupResponse) { c.drip(s, message(good)) }),
		"empty frames":     begun(false, func(c *rawConn, s uint32, _ *lookupResponse) { c.flood(kindData, 0, s, nil) }),
		"over the window":  begun(false, func(c *rawConn, s uint32, _ *lookupResponse) { c.flood(kindData, 0, s, make([]byte, 16<<10)) }),
		"frame of 1 MiB":   begun(false, func(c *rawConn, s uint32, _ *lookupResponse) { c.frame(kindData, 0, s, make([]byte, 1<<20)) }),
		"reset":            atOnce(func(c *rawConn, s uint32) { c.frame(kindReset, 0, s, word(2)) }),
		"refused stream":   atOnce(func(c *rawConn, s uint32) { c.frame(kindReset, 0, s, word(7)) }),
		"resets":           atOnce(func(c *rawConn, s uint32) { c.flood(kindReset, 0, s, word(8)) }),
		"resets of others": atOnce(func(c *rawConn, s uint32) { c.flood(kindReset, 0, s+100, word(8)) }),
		"pings":            atOnce(func(c *rawConn, _ uint32) { c.flood(kindPing, 0, 0, make([]byte, 8)) }),
		"settings":         atOnce(func(c *rawConn, _ uint32) { c.flood(kindSettings, 0, 0, nil) }),
		"windows":          atOnce(func(c *rawConn, _ uint32) { c.flood(kindWindow, 0, 0, word(1<<31-1)) }),
		"goodbye":          atOnce(func(c *rawConn, _ uint32) { c.frame(kindGoAway, 0, 0, word(0, 0)) }),
		"goodbyes":         atOnce(func(c *rawConn, s uint32) { c.flood(kindGoAway, 0, 0, word(s, 0)) }),
		"goodbyes for all": atOnce(func(c *rawConn, _ uint32) { c.flood(kindGoAway, 0, 0, word(0, 11)) }),
		"endless headers": atOnce(func(c *rawConn, s uint32) {
			c.frame(kindHeaders, 0, s, nil)
			c.flood(kindContinuation, 0, s, field("a", "b"))
		}),
		"headers of 16 KiB": atOnce(func(c *rawConn, s uint32) { c.frame(kindHeaders, endHeaders, s, bytes.Repeat(field("a", "b"), 3000)) }),
		"broken headers":    atOnce(func(c *rawConn, s uint32) { c.frame(kindHeaders, endHeaders, s, []byte{0xff, 0xff, 0xff, 0xff}) }),
		"a web page": atOnce(func(c *rawConn, s uint32) {
			c.frame(kindHeaders, endHeaders, s, append([]byte{0x88}, field("content-type", "text/html")...))
			c.frame(kindData, endStream, s, []byte("<p>"+number))
		}),
		"no HTTP/2": atOnce(func(c *rawConn, _ uint32) { _, _ = c.Write(bytes.Repeat([]byte("no"), 1000)) }),
		"nothing":   atOnce(func(*rawConn, uint32) {}),
	}
}

// Whatever a peer does to a connection, a call of it is silent by its deadline,
// another platform is answered as ever, nothing that the peer wrote is in the
// log, the peer is not dialled over and over, and Close leaves no goroutine.
func TestBrokenConnections(t *testing.T) {
	for name, c := range breakages() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, peer := newWorld(t), &rawPeer{asked: c.asked}
				w.raw(peer)
				r, p := w.shop(w.timeless)
				chat := w.chat(r)
				for range 3 {
					bad, good := ask(t, p, 2*time.Second), ask(t, chat, 2*time.Second)
					if a := good.wait(); a.State != platform.Bound || a.Took != 0 {
						t.Errorf("the other platform: %+v", a)
					}
					if a := bad.wait(); a.State != platform.Silent || a.Malformed != c.malformed || a.Accounts != nil || a.Took > 2*time.Second {
						t.Errorf("%+v", a)
					}
				}
				if n := peer.conns.Load(); n > 10 {
					t.Errorf("%d connections for 3 lookups", n)
				}
				if strings.Contains(w.logs.String(), "13800138000") {
					t.Error("a number is in the log")
				}
				r.Close()
			})
		})
	}
}

// chat joins a second platform, which is sound.
func (w *world) chat(r *link.Roster) platform.Platform {
	w.t.Helper()
	d := description()
	d.PlatformId = "chat"
	w.serve("chat.example:1", pki.ServerConfig(issue(w.t, w.ca, pki.RolePlatform, "chat", 0), domain), func(s *grpc.Server) {
		connectorv1.RegisterConnectorServiceServer(s, &connector{describe: func() (*connectorv1.DescribeResponse, error) { return d, nil }})
	})
	if err := r.Join(platform.Entry{ID: "chat", Address: "chat.example:1"}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	p, _ := r.Get("chat")
	return p
}

// Who lets connections succeed and ends them is not dialled over and over while
// calls wait, and is asked again once it behaves.
func TestConnectionsThatEndAtOnce(t *testing.T) {
	for name, ends := range map[string]func(*rawConn){
		"goodbye":           func(c *rawConn) { c.frame(kindGoAway, 0, 0, word(0, 0)) },
		"goodbye, but late": func(c *rawConn) { c.frame(kindGoAway, 0, 0, word(1<<31-1, 0)) },
		"goodbyes":          func(c *rawConn) { c.flood(kindGoAway, 0, 0, word(0, 11)) },
		"no goodbye":        func(c *rawConn) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sound atomic.Bool
				w := newWorld(t)
				peer := &rawPeer{
					opened: func(c *rawConn) bool {
						if sound.Load() {
							return false
						}
						ends(c)
						return true
					},
					asked: func(c *rawConn, s uint32, good *lookupResponse) { c.head(s); c.message(s, good); c.end(s, "0", "") },
				}
				w.raw(peer)
				r, p := w.shop(w.timeless)
				chat := w.chat(r)
				good := ask(t, chat, 2*time.Second)
				if a := ask(t, p, 2*time.Second).wait(); a.State != platform.Silent || a.Malformed || a.Took > 2*time.Second {
					t.Errorf("%+v", a)
				}
				if a := good.wait(); a.State != platform.Bound || a.Took != 0 {
					t.Errorf("the other platform: %+v", a)
				}
				time.Sleep(2 * time.Minute)
				if n := peer.conns.Load(); n > 100 || p.Info().Health != platform.HealthNotServing {
					t.Errorf("%d connections in two minutes, %+v", n, p.Info())
				}
				sound.Store(true)
				time.Sleep(25 * time.Second)
				if a := ask(t, p, 2*time.Second).wait(); a.State != platform.Bound || p.Info().Health != platform.HealthServing {
					t.Errorf("behaving again: %+v %+v", a, p.Info())
				}
			})
		})
	}
}

// slowly is a listener whose connections write one byte in a second while it is
// slow.
type slowly struct {
	net.Listener
	slow  atomic.Bool
	conns atomic.Int32
}

func (l *slowly) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.conns.Add(1)
	return &slowConn{timeless{c}, l}, nil
}

type slowConn struct {
	net.Conn
	l *slowly
}

func (c *slowConn) Write(b []byte) (n int, err error) {
	for n < len(b) && c.l.slow.Load() {
		time.Sleep(time.Second)
		one, err := c.Conn.Write(b[n : n+1])
		if n += one; err != nil {
			return n, err
		}
	}
	rest, err := c.Conn.Write(b[n:])
	return n + rest, err
}

// slowShop serves c as the platform "shop" over such a listener.
func (w *world) slowShop(c *connector, more ...grpc.ServerOption) *slowly {
	w.t.Helper()
	l := &slowly{Listener: w.listen(shopAt)}
	config := pki.ServerConfig(issue(w.t, w.ca, pki.RolePlatform, "shop", 0), domain)
	s := grpc.NewServer(append(more, grpc.Creds(credentials.NewTLS(config)))...)
	connectorv1.RegisterConnectorServiceServer(s, c)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	w.t.Cleanup(func() { s.Stop(); wg.Wait() })
	return l
}

// A connection that drips delays nobody beyond the deadline, in the handshake or
// after it, and is good again when it flows.
func TestDrippingConnection(t *testing.T) {
	for name, problem := range map[string]string{
		"from the first byte on": "it accepts connections but does not finish the TLS handshake", "after the handshake": "it does not answer Describe in time",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.slowShop(&connector{})
				l.slow.Store(name == "from the first byte on")
				r, p := w.shop(w.timeless)
				chat := w.chat(r)
				l.slow.Store(true)
				for range 3 {
					bad, good := ask(t, p, 2*time.Second), ask(t, chat, 2*time.Second)
					if a := good.wait(); a.State != platform.Bound || a.Took != 0 {
						t.Errorf("the other platform: %+v", a)
					}
					if a := bad.wait(); a.State != platform.Silent || a.Malformed || a.Took > 2*time.Second {
						t.Errorf("%+v", a)
					}
				}
				time.Sleep(time.Minute)
				if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != problem || chat.Info().Health != platform.HealthServing {
					t.Errorf("%+v", i)
				}
				l.slow.Store(false)
				time.Sleep(time.Minute)
				if a := ask(t, p, 2*time.Second).wait(); a.State != platform.Bound || p.Info().Health != platform.HealthServing {
					t.Errorf("flowing again: %+v %+v", a, p.Info())
				}
				r.Close()
			})
		})
	}
}

// Who accepts, takes the greeting of TLS and stalls is told from one that
// refuses, and holds a call to its deadline at most.
