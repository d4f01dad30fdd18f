package link_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/pki"
)

// Kinds and flags of HTTP/2 frames.
const (
	kindData         = 0x0
	kindHeaders      = 0x1
	kindReset        = 0x3
	kindSettings     = 0x4
	kindPing         = 0x6
	kindGoAway       = 0x7
	kindWindow       = 0x8
	kindContinuation = 0x9

	endStream  = 0x1
	ack        = 0x1
	endHeaders = 0x4
)

// rawPeer is a platform that speaks HTTP/2 by hand, so that it can break it. It
// describes itself as it should; what it does besides is up to the test.
type rawPeer struct {
	w     *world
	conns atomic.Int32
	// opened runs at the start of a connection, if it is set, and reports whether
	// nothing is answered on it.
	opened func(*rawConn) (mute bool)
	// asked gets every lookup with a sound answer to it.
	asked func(c *rawConn, stream uint32, good *connectorv1.LookupBindingsResponse)
}

// rawConn is the peer's end of one connection.
type rawConn struct {
	net.Conn
	floods *sync.WaitGroup
}

// timeless is a connection without deadlines. Closing TLS sets one that is over
// at once; in a bubble, under the race detector, two such timers at one moment
// can crash the runtime of Go 1.26.
type timeless struct{ net.Conn }

func (timeless) SetDeadline(time.Time) error      { return nil }
func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// timeless makes the hub's connections so.
func (w *world) timeless(o *link.Options) {
	o.Dialer = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := w.dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return timeless{conn}, nil
	}
}

// raw serves p as the platform "shop" at shopAt.
func (w *world) raw(p *rawPeer) {
	p.w = w
	l := w.listen(shopAt)
	config := pki.ServerConfig(issue(w.t, w.ca, pki.RolePlatform, "shop", 0), domain)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if p.conns.Add(1) > 500 {
				w.t.Error("the peer is dialled over and over")
				_ = l.Close()
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				p.serve(&rawConn{Conn: tls.Server(timeless{conn}, config), floods: &all})
			})
		}
	})
	w.t.Cleanup(func() { _ = l.Close(); all.Wait() })
}

// serve reads requests until the connection ends. A Describe is told by its
// message, which is empty.
func (p *rawPeer) serve(c *rawConn) {
	preface := make([]byte, 24)
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	c.frame(kindSettings, 0, 0, nil)
	if p.opened != nil && p.opened(c) {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	bodies := make(map[uint32][]byte)
	for {
		kind, flags, stream, payload, err := c.read()
		switch {
		case err != nil:
			return
		case kind == kindSettings && flags&ack == 0:
			c.frame(kindSettings, ack, 0, nil)
		case kind == kindPing && flags&ack == 0:
			c.frame(kindPing, ack, 0, payload)
		case kind == kindData:
			bodies[stream] = append(bodies[stream], payload...)
			if flags&endStream != 0 {
				p.answer(c, stream, bodies[stream])
				delete(bodies, stream)
			}
		}
	}
}

func (p *rawPeer) answer(c *rawConn, stream uint32, body []byte) {
	var r connectorv1.LookupBindingsRequest
	if len(body) < 5 || proto.Unmarshal(body[5:], &r) != nil {
		p.w.t.Errorf("a request of %d bytes is no message", len(body))
		return
	}
	if len(r.GetSubjects()) == 0 {
		c.head(stream)
		c.message(stream, description())
		c.end(stream, "0", "")
		return
	}
	p.asked(c, stream, answers(&r, bound))
}

func (c *rawConn) read() (kind, flags byte, stream uint32, payload []byte, err error) {
	head := make([]byte, 9)
	if _, err = io.ReadFull(c, head); err != nil {
		return 0, 0, 0, nil, err
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(c, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), payload, err
}

// frame writes one frame and reports whether the hub still listens.
func (c *rawConn) frame(kind, flags byte, stream uint32, payload []byte) bool {
	n := len(payload)
	b := append([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, binary.BigEndian.AppendUint32(nil, stream)...)
	_, err := c.Write(append(b, payload...))
	return err == nil
}

// flood writes a frame 20,000 times, while the connection goes on.
func (c *rawConn) flood(kind, flags byte, stream uint32, payload []byte) {
	c.floods.Go(func() {
		for range 20_000 {
			if !c.frame(kind, flags, stream, payload) {
				return
			}
		}
	})
}

// drip writes bytes, one in a second.
func (c *rawConn) drip(stream uint32, b []byte) {
	c.floods.Go(func() {
		for i := range b {
			time.Sleep(time.Second)
			if !c.frame(kindData, 0, stream, b[i:i+1]) {
				return
			}
		}
	})
}

// head begins a sound answer.
func (c *rawConn) head(stream uint32) {
	c.frame(kindHeaders, endHeaders, stream, append([]byte{0x88}, field("content-type", "application/grpc")...)) // 0x88: status 200
}

func (c *rawConn) message(stream uint32, m proto.Message) {
	c.frame(kindData, 0, stream, message(m))
}

// end writes the trailer.
func (c *rawConn) end(stream uint32, code, text string) {
	c.frame(kindHeaders, endHeaders|endStream, stream, append(field("grpc-status", code), field("grpc-message", text)...))
}

// message is m with the five bytes that gRPC puts before it.
func message(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// field is a header in HPACK, neither indexed nor compressed.
func field(name, value string) []byte {
	b := append([]byte{0, byte(len(name))}, name...)
	return append(append(b, byte(len(value))), value...)
}

// word is a number as frames hold it.
func word(n ...uint32) []byte {
	var b []byte
	for _, one := range n {
		b = binary.BigEndian.AppendUint32(b, one)
	}
	return b
}
