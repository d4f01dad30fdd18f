package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// outcome is what a case brought: statuses and messages as the client got them,
// what handlers saw, and which calls were counted.
type outcome struct {
	mu    sync.Mutex
	lines []string
	seen  []string // by handlers, which may end before their clients or after
}

func (o *outcome) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
}

// saw notes what a handler sees.
func (o *outcome) saw(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, fmt.Sprintf(format, args...))
}

// got notes an answer. Ids are random, so lookups lose theirs.
func (o *outcome) got(m proto.Message, err error) {
	o.note("status %s", prototext.Format(status.Convert(err).Proto()))
	if err != nil {
		return
	}
	if l, ok := m.(interface{ GetLookup() *hubv1.Lookup }); ok {
		l.GetLookup().LookupId = ""
	}
	o.note("message %s", prototext.Format(m))
}

// trial is a world with one of the two ways to the handlers.
type trial struct {
	*world
	*outcome
	conn grpc.ClientConnInterface
	p    *person
}

func (t *trial) coverageCall(ctx context.Context) {
	t.got(oversightv1.NewCoverageServiceClient(t.conn).GetCoverage(ctx, &oversightv1.GetCoverageRequest{}))
}

// handle makes f the handler of coverageCall.
func (t *trial) handle(f func(ctx context.Context) error) {
	t.coverage = func(ctx context.Context, _ coverage.Query) (coverage.Report, error) { return coverage.Report{}, f(ctx) }
}

func (t *trial) held() string {
	t.peers["chat"].set(func(p *peer) { p.holding = true })
	return t.p.look().GetLookupId()
}

// watch notes frames up to the end; after each it calls then.
func (t *trial) watch(ctx context.Context, id string, then func(n int)) {
	s, err := hubv1.NewLookupServiceClient(t.conn).WatchLookup(ctx, &hubv1.WatchLookupRequest{LookupId: id})
	if err != nil {
		t.got(nil, err)
		return
	}
	for n := 1; ; n++ {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			t.note("end")
			return
		}
		t.got(m, err)
		if err != nil {
			return
		}
		then(n)
	}
}

type hidden struct{}

// cases are calls that have to end alike over a connection and in process.
var cases = map[string]func(*trial){
	"success": func(t *trial) {
		c := hubv1.NewLookupServiceClient(t.conn)
		made, err := c.CreateLookup(t.p.ctx, &hubv1.CreateLookupRequest{PlatformIds: []string{"bank", "chat"}})
		id := made.GetLookup().GetLookupId()
		t.got(made, err)
		t.got(c.GetLookup(t.p.ctx, &hubv1.GetLookupRequest{LookupId: id, Wait: durationpb.New(time.Second), SinceRevision: 100}))
		t.got(hubv1.NewCatalogueServiceClient(t.conn).GetConsent(t.Context(), &hubv1.GetConsentRequest{}))
	},
	"errors of every kind": func(t *trial) {
		for _, err := range []error{
			fault.InternalError.Wrap(errDown), fault.PhoneInvalid.On("phoneNumber"), fault.SessionInvalid.New(), fault.RoleDenied.New(), fault.LookupNotFound.New(),
			fault.RequestIDReused.New(), fault.NothingToUnbind.New(), fault.Overloaded.New().WithRetry(90 * time.Second), fault.StoreFailed.New(),
			fault.MethodUnknown.New(), fault.RequestCanceled.New(), fault.DeadlineExceeded.New(),
			errDown, context.Canceled, context.DeadlineExceeded, fmt.Errorf("read: %w", context.Canceled), io.EOF,
			status.Error(codes.DataLoss, "of another connection"), fmt.Errorf("read: %w", status.Error(codes.NotFound, "row")),
		} {
			t.handle(func(context.Context) error { return err })
			t.coverageCall(t.Context())
		}
		t.handle(func(context.Context) error { panic("typed by somebody") })
		t.coverageCall(t.Context())
	},
	"refusals": func(t *trial) {
		c := hubv1.NewLookupServiceClient(t.conn)
		t.got(c.CreateLookup(t.Context(), &hubv1.CreateLookupRequest{}))
		t.got(c.CreateLookup(t.bearer("wrong").ctx, &hubv1.CreateLookupRequest{}))
		t.got(c.GetLookup(t.p.ctx, &hubv1.GetLookupRequest{LookupId: "none"}))
		t.got(hubv1.NewMembershipServiceClient(t.conn).ReportUnbind(t.Context(), &hubv1.ReportUnbindRequest{}))
		t.watch(t.Context(), "none", nil)
		t.watch(t.p.ctx, "none", nil)
		for _, m := range []string{"/tongcha.hub.v1.LookupService/Nothing", "/nothing/Nothing"} {
			t.got(nil, t.conn.Invoke(t.p.ctx, m, new(emptypb.Empty), new(emptypb.Empty)))
			s, err := t.conn.NewStream(t.p.ctx, &grpc.StreamDesc{ServerStreams: true}, m)
			t.must(err)
			t.must(s.SendMsg(new(emptypb.Empty)))
			t.got(nil, s.RecvMsg(new(emptypb.Empty)))
		}
	},
	"what a handler sees": func(t *trial) {
		t.handle(func(ctx context.Context) error {
			md, _ := metadata.FromIncomingContext(ctx)
			for _, k := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
				delete(md, k) // a connection's own
			}
			_, out := metadata.FromOutgoingContext(ctx)
			_, deadline := ctx.Deadline()
			t.saw("%v, outgoing %t, values %v, deadline %t", md, out, ctx.Value(hidden{}), deadline)
			md.Set("authorization", "changed by the handler")
			return nil
		})
		ctx := context.WithValue(t.Context(), hidden{}, "of the HTTP side")
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("of", "another call"))
		ctx = metadata.AppendToOutgoingContext(ctx, "Authorization", "Bearer of-nobody", "twice", "1", "Twice", "2", "x-tongcha-address", "192.0.2.1")
		t.coverageCall(ctx)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		t.coverageCall(ctx)
	},
	"a deadline that the handler does not heed": func(t *trial) {
		t.handle(func(ctx context.Context) error {
			time.Sleep(5 * time.Second)
			t.saw("it is over: %t", ctx.Err() != nil)
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		t.coverageCall(ctx)
		t.note("after %v", time.Since(began))
		t.coverageCall(ctx) // it has passed already
		time.Sleep(5 * time.Second)
	},
	"a client that leaves": func(t *trial) {
		t.handle(func(ctx context.Context) error {
			<-ctx.Done()
			t.saw("%v", ctx.Err())
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		t.coverageCall(ctx)
		synctest.Wait()
		t.coverageCall(ctx) // it has left already
	},
	"a watch": func(t *trial) {
		id := t.held()
		t.watch(t.p.ctx, id, func(n int) {
			if n == 1 {
				t.peers["chat"].release()
			}
		})
	},
	"a watch that fails half-way": func(t *trial) {
		t.watch(t.p.ctx, t.held(), func(int) { t.lookups.Drain() })
	},
	"a client that leaves a watch": func(t *trial) {
		ctx, cancel := context.WithCancel(t.p.ctx)
		t.watch(ctx, t.held(), func(int) { cancel() })
	},
	"a deadline in a watch": func(t *trial) {
		ctx, cancel := context.WithTimeout(t.p.ctx, time.Second)
		defer cancel()
		id := t.held()
		t.observed = nil // over a connection the clocks of both ends race, and the call counts as either
		s, err := hubv1.NewLookupServiceClient(t.conn).WatchLookup(ctx, &hubv1.WatchLookupRequest{LookupId: id})
		t.must(err)
		_, err = s.Recv()
		t.must(err)
		_, err = s.Recv()
		t.note("%v", status.Code(err))
	},
	"a watch that nobody reads": func(t *trial) {
		ctx, cancel := context.WithCancel(t.p.ctx)
		_, err := hubv1.NewLookupServiceClient(t.conn).WatchLookup(ctx, &hubv1.WatchLookupRequest{LookupId: t.held()})
		t.must(err)
		synctest.Wait()
		cancel() // the bubble waits for the handler's end
	},
	"a stream that sends no request": func(t *trial) {
		s, err := t.conn.NewStream(t.p.ctx, &grpc.StreamDesc{ServerStreams: true}, hubv1.LookupService_WatchLookup_FullMethodName)
		t.must(err)
		t.must(s.CloseSend())
		t.note("%v", status.Code(s.RecvMsg(new(hubv1.WatchLookupResponse))))
	},
	"large messages": func(t *trial) {
		t.got(hubv1.NewCatalogueServiceClient(t.conn).ListPlatforms(t.Context(), &hubv1.ListPlatformsRequest{PageSize: 500}))
		for _, n := range []int{256<<10 - 5, 256<<10 - 4, 256<<10 - 3, 1 << 20} {
			id := strings.Repeat("a", n)
			t.got(hubv1.NewLookupServiceClient(t.conn).CreateLookup(t.p.ctx, &hubv1.CreateLookupRequest{RequestId: id}))
			t.watch(t.p.ctx, id, nil)
		}
	},
	"a stock service": func(t *trial) {
		c := healthv1.NewHealthClient(t.conn)
		t.got(c.Check(t.Context(), &healthv1.HealthCheckRequest{}))
		t.got(c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "none"}))
		ctx, cancel := context.WithCancel(t.Context())
		s, err := c.Watch(ctx, &healthv1.HealthCheckRequest{})
		t.must(err)
		t.got(s.Recv())
		t.server.SetServing(true)
		t.got(s.Recv())
		cancel()
		t.got(s.Recv())
	},
}

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
