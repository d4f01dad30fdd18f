package rpc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/pki"
)

// span is a span that was begun, and how it ended.
type span struct {
	parent, method string
	fromGateway    bool
	code           string
}

// spans keeps spans. Each child is named "child of" its parent.
type spans struct {
	mu  sync.Mutex
	all []*span
}

func (s *spans) begin(parent, method string, fromGateway bool) (string, func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &span{parent: parent, method: method, fromGateway: fromGateway}
	s.all = append(s.all, one)
	return "child of " + parent, func(code string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.code += code
	}
}

func under(ctx context.Context, parent string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
}

// Every call has one span, which says whether its parent is ours; a lookup's goes
// on to the platforms. What a caller chose names nothing.
func TestSpans(t *testing.T) {
	seen := new(spans)
	inWorld(t, func(s *settings) { s.span = seen.begin }, func(w *world) {
		p := w.person()
		seen.all = nil
		w.hold(true)
		_, err := p.lookups.CreateLookup(under(p.ctx, "one"), &hubv1.CreateLookupRequest{})
		w.must(err)
		for id, peer := range w.peers {
			if len(peer.held) != 1 || peer.held[0].Trace != "child of one" {
				t.Errorf("%s is asked %+v", id, peer.held)
			}
		}
		w.hold(false)
		_, err = w.bearer("nobody").create(nil, "")
		w.wants("no session", err, "SESSION_INVALID", "")
		outside := w.as(pki.RolePlatform, "shop")
		_, err = hubv1.NewLookupServiceClient(outside).CreateLookup(under(w.Context(), "two"), &hubv1.CreateLookupRequest{})
		w.wants("a platform", err, "ROLE_DENIED", "")
		err = outside.Invoke(w.Context(), "/13912349876/13912349876", &emptypb.Empty{}, &emptypb.Empty{})
		w.wants("no method", err, "METHOD_UNKNOWN", "")
		_, err = healthv1.NewHealthClient(outside).Check(w.Context(), &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
		w.must(err)
		synctest.Wait()
		const create = hubv1.LookupService_CreateLookup_FullMethodName
		want := []span{{"one", create, true, "OK"}, {"", create, true, "Unauthenticated"}, {"two", create, false, "PermissionDenied"}, {"", "unknown", false, "Unimplemented"}}
		for i, s := range seen.all {
			if len(seen.all) != len(want) || *s != want[i] {
				t.Errorf("span %d of %d: %+v", i, len(seen.all), *s)
			}
		}
	})
}
