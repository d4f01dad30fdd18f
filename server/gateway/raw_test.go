package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
)

func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// raw sends bytes as they are and returns everything up to the end of the
// connection, which the server has to bring about: a client that closes its
// half has left, as far as net/http is concerned.
func (s *site) raw(request string) string {
	s.t.Helper()
	c := s.dial()
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("the server keeps the connection after %.300s", all)
	}
	if strings.Contains(string(all), canary) {
		s.t.Errorf("the answer repeats what was typed: %s", all)
	}
	return string(all)
}

const smuggled = "GET /v1/consent HTTP/1.1\r\nHost: h\r\n\r\n"

// net/http takes Transfer-Encoding and drops a Content-Length beside it. Then
// at least nothing behind such a request is read as a second one.
func TestTwoLengths(t *testing.T) {
	s := openDefault(t)
	const post = "POST /v1/lookups HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
	for name, c := range map[string]struct{ request, status string }{
		"both, agreeing": {post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + smuggled, "200"},
		"both, TE.CL":    {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + smuggled, "200"},
		"both, CL.TE":    {post + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + smuggled, "200"},
		"refused path":   {strings.Replace(post, "lookups", canary, 1) + "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + smuggled, "404"},
		"two lengths":    {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} " + smuggled, "400"},
		"odd length":     {post + "Content-Length: +2\r\n\r\n{}" + smuggled, "400"},
		"odd length, TE": {post + "Content-Length: " + canary + "x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
		"list of TE":     {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, "501"},
		"two TE":         {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: " + canary + "\r\n\r\n0\r\n\r\n" + smuggled, "501"},
		"bare LF chunk":  {post + "Transfer-Encoding: chunked\r\n\r\n2;" + canary + "\n{}\r\n0\r\n\r\n" + smuggled, ""},
		"odd chunk":      {post + "Transfer-Encoding: chunked\r\n\r\nz" + canary + "\r\n" + smuggled, "400"},
	} {
		got := s.raw(c.request)
		if n := strings.Count(got, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(got, "HTTP/1.1 "+c.status) {
			t.Errorf("%s: %d answers: %s", name, n, got)
		}
	}
	// A chunked body alone is fine, also one that turns out empty.
	for _, body := range []string{"2\r\n{}\r\n0\r\n\r\n", "0\r\n\r\n"} {
		if got := s.raw(post + "Transfer-Encoding: chunked\r\n\r\n" + body); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("%q: %s", body, got)
		}
	}
	got := s.raw(post + "Transfer-Encoding: chunked\r\n\r\n5000\r\n" + strings.Repeat("a", 0x5000) + "\r\n0\r\n\r\n" + smuggled)
	if !strings.HasPrefix(got, "HTTP/1.1 413") || !strings.Contains(got, string(fault.BodyTooLarge)) {
		t.Errorf("chunked, too large: %s", got)
	}
}

func TestRawRequests(t *testing.T) {
	s := openDefault(t)
	for _, c := range []struct{ name, request, status string }{
		{"asterisk", "OPTIONS * HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n", "404"},
		{"connect", "CONNECT " + canary + ":443 HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n", "404"},
		{"absolute", "GET http://" + canary + "/v1/consent HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n", "200"},
		{"two hosts", "GET /v1/consent HTTP/1.1\r\nConnection: close\r\nHost: h\r\nHost: " + canary + "\r\n\r\n", "400"},
		{"garbage", canary + "\r\n\r\n", "400"},
		{"bad header", "GET /v1/consent HTTP/1.1\r\nConnection: close\r\nHost: h\r\n" + canary + "\r\n\r\n", "400"},
		{"raw space", "GET /v1/lookups/" + canary + " a HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n", "400"},
		{"trace", "TRACE /v1/consent HTTP/1.1\r\nConnection: close\r\nHost: h\r\nX-Echo: " + canary + "\r\n\r\n", "405"},
		{"headers of 16 KiB", "GET /v1/consent HTTP/1.1\r\nConnection: close\r\nHost: h\r\nX: " + strings.Repeat("a", 16<<10) + "\r\n\r\n", "431"},
		{"HTTP/1.0", "GET /v1/consent HTTP/1.0\r\n\r\n", "200"},
	} {
		if got := s.raw(c.request); !strings.HasPrefix(got, "HTTP/1.1 "+c.status) && !strings.HasPrefix(got, "HTTP/1.0 "+c.status) {
			t.Errorf("%s: %.300s", c.name, got)
		}
	}
}

// A client that asks before it sends is told at once, and is not waited for.
func TestExpectContinue(t *testing.T) {
	s := openDefault(t)
	const head = " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: "
	for request, status := range map[string]string{
		"POST /v1/lookups" + head + "1000000\r\n\r\n": "413",
		"POST /v1/unknown" + head + "2\r\n\r\n":       "404",
	} {
		start := time.Now()
		if got := s.raw(request); !strings.HasPrefix(got, "HTTP/1.1 "+status) || time.Since(start) > 5*time.Second {
			t.Errorf("%v: %s", time.Since(start), got)
		}
	}
	c := s.dial()
	in := bufio.NewReader(c)
	_, _ = io.WriteString(c, "POST /v1/lookups"+head+"2\r\n\r\n")
	if line, _ := in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q", line)
	}
	_, _ = io.WriteString(c, "{}")
	all, _ := in.ReadString('{')
	if !strings.Contains(all, "HTTP/1.1 200") {
		t.Errorf("got %q", all)
	}
}

// A body has to be here in time, however steadily it drips, and whether or not
// the gateway wants it.
func TestSlowBody(t *testing.T) {
	s := open(t, nil, patience{read: 150 * time.Millisecond, write: time.Second})
	for path, want := range map[string]string{"/v1/lookups": "HTTP/1.1 408", "/v1/unknown": "HTTP/1.1 404"} {
		c := s.dial()
		start := time.Now()
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		go func() {
			for range time.Tick(20 * time.Millisecond) {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
			}
		}()
		all, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(all), want) || !strings.Contains(string(all), "Connection: close") {
			t.Errorf("%s: %s", path, all)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %v", path, d)
		}
	}
}

// slow is a hub that answers a unary call late.
type slow struct {
	grpc.ClientConnInterface
	wait time.Duration
}

func (s slow) Invoke(ctx context.Context, m string, in, out any, o ...grpc.CallOption) error {
	select {
	case <-time.After(s.wait):
		return s.ClientConnInterface.Invoke(ctx, m, in, out, o...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The body's deadline ends with the body: neither a long answer nor the next
// request on the connection feels it.
func TestDeadlineIsLifted(t *testing.T) {
	s := open(t, func(o *Options) { o.Conn = slow{o.Conn, 300 * time.Millisecond} },
		patience{read: 100 * time.Millisecond, write: 100 * time.Millisecond})
	c := s.dial()
	in := bufio.NewReader(c)
	for range 2 {
		_, _ = io.WriteString(c, "POST /v1/lookups HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || resp.Close {
			t.Fatalf("%d, close %t", resp.StatusCode, resp.Close)
		}
	}
}

// A client that does not read its answer is let go, on either protocol.
func TestSlowReader(t *testing.T) {
	ended := make(chan int, 1)
	s := open(t, func(o *Options) {
		o.Observe = func(_ string, code int, _ time.Duration) { ended <- code }
	}, patience{read: time.Second, write: 200 * time.Millisecond})
	s.hub.set(func(h *hub) {
		for range 64 {
			h.frames = append(h.frames, &hubv1.Lookup{LookupId: strings.Repeat("a", 1<<20)})
		}
	})
	let := func() {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			t.Fatal("the answer still waits for its reader")
		}
	}
	c := s.dial()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	_, _ = io.WriteString(c, "GET /v1/lookups/L:watch HTTP/1.1\r\nHost: h\r\n\r\n")
	let()

	url, cfg := s.secure()
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequest("GET", url+"/v1/lookups/L:watch", nil)
	resp, err := tr.RoundTrip(req)
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatal(resp, err)
	}
	let()
	_ = resp.Body.Close()
}
