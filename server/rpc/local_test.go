package rpc_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// Without a connection everything is as over one.
func TestLocalIsLikeAConnection(t *testing.T) {
	for name, story := range cases {
		t.Run(name, func(t *testing.T) {
			want, got := try(t, story, false), try(t, story, true)
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("in process, from line %d:\n%.5000q\nover a connection:\n%.5000q", i, got[min(i, len(got)):], want[min(i, len(want)):])
				}
			}
		})
	}
}

func try(t *testing.T, story func(*trial), local bool) []string {
	o := new(outcome)
	var counted []string
	inWorld(t, func(s *settings) {
		s.openCoverage = true
		for i := range 300 {
			s.more = append(s.more, platform.ID(fmt.Sprintf("p%03d", i)))
		}
	}, func(w *world) {
		c := &trial{world: w, outcome: o, conn: w.gateway, p: w.person()}
		if local {
			c.conn = w.local
		}
		var mu sync.Mutex
		w.observed = func(method, code string) {
			mu.Lock()
			defer mu.Unlock()
			counted = append(counted, method+" "+code)
		}
		story(c)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		w.observed = nil
	})
	slices.Sort(counted)
	return slices.Concat(o.lines, o.seen, counted)
}

// The handler of a call in process learns nothing that a connection had not told
// it, and shares no message with its client.
func TestLocalKeepsApart(t *testing.T) {
	inWorld(t, open, func(w *world) {
		w.coverage = func(ctx context.Context, _ coverage.Query) (coverage.Report, error) {
			if p, ok := grpcpeer.FromContext(ctx); ok {
				w.Errorf("it has the peer %v", p)
			}
			return coverage.Report{}, nil
		}
		ctx := grpcpeer.NewContext(w.Context(), &grpcpeer.Peer{})
		answer := &oversightv1.GetCoverageResponse{Coverage: &oversightv1.Coverage{Joined: 7, Platforms: make([]*oversightv1.PlatformCoverage, 3)}}
		w.must(w.local.Invoke(ctx, oversightv1.CoverageService_GetCoverage_FullMethodName, &oversightv1.GetCoverageRequest{}, answer))
		if c := answer.GetCoverage(); c.GetJoined() != 0 || len(c.GetPlatforms()) != 0 {
			w.Errorf("what was in the answer before is still there: %v", c)
		}
		for what, call := range map[string][2]any{
			"request of another type": {new(emptypb.Empty), answer}, "answer of another type": {&oversightv1.GetCoverageRequest{}, new(emptypb.Empty)},
			"no message": {"text", answer}, "nothing": {&oversightv1.GetCoverageRequest{}, nil},
		} {
			err := w.local.Invoke(ctx, oversightv1.CoverageService_GetCoverage_FullMethodName, call[0], call[1])
			if status.Code(err) != codes.Internal {
				w.Errorf("%s: %v", what, err)
			}
		}
		if _, err := w.local.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/a/B"); status.Code(err) != codes.Unimplemented {
			w.Errorf("a stream of requests: %v", err)
		}
	})
}

// A client that has left may use its message again at once.
func TestLocalRequestIsACopy(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for range 50 {
			ctx, cancel := context.WithCancel(w.Context())
			r := request(number, suffix)
			go cancel()
			_, _ = w.verification().CreateVerification(ctx, r)
			r.PhoneNumber, r.Consent.Version = "changed", "changed"
			r.Consent.Scopes[0] = "changed"
		}
	})
}

// Calls that run are waited for, and cut off when there is no more time; new ones
// are refused.
func TestLocalStop(t *testing.T) {
	for heeds, want := range map[bool]string{true: "SHUTTING_DOWN", false: ""} {
		inWorld(t, open, func(w *world) {
			returned := false
			w.coverage = func(ctx context.Context, _ coverage.Query) (coverage.Report, error) {
				if heeds {
					<-ctx.Done()
				} else {
					time.Sleep(time.Second)
				}
				returned = true
				return coverage.Report{}, ctx.Err()
			}
			client := oversightv1.NewCoverageServiceClient(w.local)
			ended := make(chan error)
			go func() {
				_, err := client.GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{})
				ended <- err
			}()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
			defer cancel()
			began := time.Now()
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() { w.local.Stop(ctx) })
			}
			synctest.Wait()
			_, err := client.GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{})
			w.wants("a new call", err, "SHUTTING_DOWN", "")
			_, err = hubv1.NewLookupServiceClient(w.local).WatchLookup(w.Context(), &hubv1.WatchLookupRequest{})
			w.wants("a new stream", err, "SHUTTING_DOWN", "")
			w.wants("the running call", <-ended, want, "")
			all.Wait()
			if took := time.Since(began); !returned || (took == 3*time.Second) != heeds {
				w.Errorf("stopped after %v, handler returned: %t", took, returned)
			}
		})
	}
}

// A watch is cut off like any other call.
func TestLocalStopEndsWatches(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		s, err := p.lookups.WatchLookup(p.ctx, &hubv1.WatchLookupRequest{LookupId: p.look().GetLookupId()})
		w.must(err)
		_, err = s.Recv()
		w.must(err)
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		w.local.Stop(ctx)
		_, err = s.Recv()
		if got := w.tell(err).code; got != codes.Unavailable && got != codes.Canceled {
			w.Errorf("%v", err)
		}
	})
}
