package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
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

// watch notes frames up to the end; after each it calls then. Between the last
// answer and the end a lookup is stored: whether a frame shows it in that moment
// is chance, either way, and it is left out.
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
		if l := m.GetLookup(); l.GetState() == hubv1.LookupState_LOOKUP_STATE_RUNNING && l.GetAnswered()+l.GetSilent() == l.GetAsked() {
			n--
			continue
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
		_, err := oversightv1.NewCoverageServiceClient(t.conn).GetCoverage(ctx, &oversightv1.GetCoverageRequest{})
		t.note("%v", status.Code(err)) // over a connection the clocks of both ends race, and the text is either's
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
