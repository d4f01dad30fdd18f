package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
)

func lookups(n int) (out []*hubv1.Lookup) {
	for i := range n {
		out = append(out, &hubv1.Lookup{LookupId: "L", Revision: int32(i + 1)})
	}
	return out
}

func TestWatch(t *testing.T) {
	s := openDefault(t)
	s.hub.set(func(h *hub) { h.frames = lookups(3) })
	r := s.do("GET", "/v1/lookups/L:watch", "")
	lines := strings.Split(r.text, "\n")
	if r.code != 200 || len(lines) != 4 || lines[3] != "" || r.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v %q", r.code, r.header, r.text)
	}
	for i, line := range lines[:3] {
		var f struct {
			Result map[string]any
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Result["revision"] != float64(i+1) || f.Result["asked"] != 0.0 {
			t.Errorf("frame %d: %s", i, line)
		}
	}
}

// The one parameter of a watch arrives; a value that is no bool is refused.
func TestWatchUntilFinal(t *testing.T) {
	s := openDefault(t)
	s.hub.set(func(h *hub) { h.frames = lookups(1) })
	for query, want := range map[string]bool{"": false, "?untilFinal=true": true, "?untilFinal=false": false} {
		if r := s.do("GET", "/v1/lookups/L:watch"+query, ""); r.code != 200 {
			t.Fatalf("%q: %d %s", query, r.code, r.text)
		}
		s.hub.set(func(h *hub) {
			if got := h.last.(*hubv1.WatchLookupRequest).GetUntilFinal(); got != want {
				t.Errorf("%q: until_final is %v", query, got)
			}
		})
	}
	refused(t, s, 400, fault.QueryInvalid, "GET", "/v1/lookups/L:watch?untilFinal=perhaps", "")
	refused(t, s, 400, fault.QueryInvalid, "GET", "/v1/lookups/L:watch?untilFinal=true&untilFinal=true", "")
}

// An error after frames is the last frame; one before any is an error answer.
func TestWatchErrors(t *testing.T) {
	s := openDefault(t)
	for _, c := range []struct {
		err    error
		reason fault.Reason
		code   int
	}{
		{ours(codes.Unauthenticated, "SESSION_INVALID"), fault.SessionInvalid, 401},
		{status.Error(codes.Unavailable, canary), fault.ShuttingDown, 503},
		{status.Error(codes.Internal, canary), fault.InternalError, 500},
	} {
		s.hub.set(func(h *hub) { h.frames, h.err = lookups(2), c.err })
		r := s.do("GET", "/v1/lookups/L:watch", "")
		lines := strings.Split(strings.TrimSpace(r.text), "\n")
		if r.code != 200 || len(lines) != 3 {
			t.Fatalf("%d %q", r.code, r.text)
		}
		var f struct{ Error map[string]any }
		if err := json.Unmarshal([]byte(lines[2]), &f); err != nil {
			t.Fatal(err)
		}
		if got := (reply{json: f.Error}).reason(); got != string(c.reason) {
			t.Errorf("last frame %s", lines[2])
		}
		s.hub.set(func(h *hub) { h.frames = nil })
		s.do("GET", "/v1/lookups/L:watch", "").want(t, c.code, c.reason)
	}
}

// dripping sends a frame whenever it is told to.
type dripping struct {
	grpc.ClientConnInterface
	frames chan *hubv1.Lookup
	ended  chan error
}

type drip struct {
	grpc.ClientStream
	ctx context.Context
	d   dripping
}

func (d dripping) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return drip{ctx: ctx, d: d}, nil
}

func (drip) SendMsg(any) error            { return nil }
func (drip) CloseSend() error             { return nil }
func (drip) Header() (metadata.MD, error) { return nil, nil }

func (s drip) RecvMsg(m any) error {
	select {
	case f, ok := <-s.d.frames:
		if !ok {
			return io.EOF
		}
		m.(*hubv1.WatchLookupResponse).Lookup = f
		return nil
	case <-s.ctx.Done():
		s.d.ended <- s.ctx.Err()
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// Each frame arrives by itself, and a client that leaves ends the call.
func TestWatchFlows(t *testing.T) {
	d := dripping{frames: make(chan *hubv1.Lookup), ended: make(chan error, 1)}
	codesSeen := make(chan int, 1)
	s := open(t, func(o *Options) {
		o.Conn = d
		o.Observe = func(_ string, code int, _ time.Duration) { codesSeen <- code }
	}, defaultPatience)
	go func() { d.frames <- &hubv1.Lookup{Revision: 1} }()
	resp, err := http.Get("http://" + s.addr + "/v1/lookups/L:watch")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for i := 1; i <= 3; i++ {
		line, err := in.ReadString('\n')
		if err != nil || !strings.Contains(strings.ReplaceAll(line, " ", ""), fmt.Sprintf(`"revision":%d,`, i)) {
			t.Fatalf("frame %d: %q %v", i, line, err)
		}
		if i < 3 {
			d.frames <- &hubv1.Lookup{Revision: int32(i + 1)}
		}
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	select {
	case err := <-d.ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the watch went on without its client")
	}
	if code := <-codesSeen; code != 200 {
		t.Errorf("observed %d", code)
	}
}
