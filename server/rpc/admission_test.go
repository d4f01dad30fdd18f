package rpc_test

import (
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/verify"
)

// made is what became of one of many lookups.
type made struct {
	id  string
	err error
}

// flood asks for n lookups at once.
func (p *person) flood(n int) []made {
	out := make([]made, n)
	var all sync.WaitGroup
	for i := range out {
		all.Go(func() {
			l, err := p.create(nil, "")
			out[i] = made{l.GetLookupId(), err}
		})
	}
	all.Wait()
	return out
}

// overloaded checks a refusal.
func (w *world) overloaded(err error) {
	w.Helper()
	if t := w.wants("over the limit", err, "OVERLOADED", ""); t.code != codes.ResourceExhausted || t.retry < time.Second || t.retry >= 5*time.Second {
		w.Errorf("%v, retry after %v", t.code, t.retry)
	}
}

// When more lookups are asked for than may run, those that run end with every
// answer, the others are refused at once, and afterwards all is as before.
func TestFlood(t *testing.T) {
	const most, more = 40, 60
	limits := func(s *settings) {
		s.maxLookups, s.lookup.PerSession, s.lookup.PerNumberDay = most, 0, 0
	}
	inWorld(t, limits, func(w *world) {
		p := w.person()
		w.hold(true)
		began := time.Now()
		var running []string
		refused := 0
		for _, m := range p.flood(most + more) {
			if m.err != nil {
				w.overloaded(m.err)
				refused++
				continue
			}
			running = append(running, m.id)
		}
		if len(running) > most || refused < more {
			t.Errorf("%d run, %d were refused", len(running), refused)
		}
		for len(running) < most { // one whose call had not quite ended may have counted twice
			running = append(running, p.look().GetLookupId())
		}
		for _, m := range p.flood(more) {
			w.overloaded(m.err)
			refused++
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("refusing took %v", took)
		}
		w.goesOn(p, running[0])
		a := w.server.Admission()
		if w.lookups.Running() != most || a.Running != most || a.MaxRunning != most || rejected(a, "lookup", "running") != refused+2 || rejected(a, "lookup", "calls") != 0 {
			t.Errorf("%+v, %d refused", a, refused)
		}
		w.hold(false)
		for _, id := range running {
			if l := p.finished(id); l.GetAnswered() != 3 || l.GetSilent() != 0 {
				t.Errorf("a lookup that ran was harmed: %v", l)
			}
		}
		synctest.Wait()
		if n := w.lookups.Running(); n != 0 {
			t.Errorf("%d lookups run for ever", n)
		}
		if l := p.finished(p.look().GetLookupId()); l.GetAnswered() != 3 {
			t.Errorf("afterwards: %v", l)
		}
	})
}

// goesOn checks what is not refused while no lookup is admitted.
func (w *world) goesOn(p *person, running string) {
	w.Helper()
	if l, err := p.lookup(running, nil, 0); err != nil || l.GetState() != hubv1.LookupState_LOOKUP_STATE_RUNNING {
		w.Errorf("a lookup that runs: %v %v", l, err)
	}
	if _, err := p.unbinds.ListUnbinds(p.ctx, &hubv1.ListUnbindsRequest{}); err != nil {
		w.Errorf("orders: %v", err)
	}
	w.code(request(otherNumber, suffix))
	if _, err := p.create([]string{"idle"}, ""); err == nil {
		w.Error("one more lookup is taken")
	}
	if _, err := w.bearer("nobody").create(nil, ""); err == nil {
		w.Error("a lookup without a session is taken")
	} else {
		w.overloaded(err) // and says nothing of sessions
	}
}

// A call whose authorisation panics gives back its place and ends its span.
func TestPanicInAuthorisation(t *testing.T) {
	seen := new(spans)
	s := rpc.New(rpc.Options{ // without a Verify
		Lookup: lookup.New(lookup.Options{}), Span: seen.begin, Logger: slog.New(slog.DiscardHandler),
	})
	local := s.Local()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+verify.NewToken().Reveal())
	_, err := hubv1.NewLookupServiceClient(local).CreateLookup(ctx, &hubv1.CreateLookupRequest{})
	local.Stop(t.Context()) // after the handler
	if status.Code(err) != codes.Internal {
		t.Errorf("it ends with %v", err)
	}
	if n := s.Admission().Calls["lookup"]; n != 0 {
		t.Errorf("%d places are taken for ever", n)
	}
	if len(seen.all) != 1 || seen.all[0].code != "Internal" {
		t.Errorf("spans: %+v", seen.all)
	}
}

// hold makes every platform keep its questions, or answer those it kept.
func (w *world) hold(on bool) {
	for _, p := range w.peers {
		p.set(func(p *peer) { p.holding = on })
		if !on {
			p.release()
		}
	}
}

func rejected(a rpc.Admission, kind, cause string) int {
	for _, r := range a.Rejected {
		if r.Kind == kind && r.Cause == cause {
			return r.Count
		}
	}
	return -1
}
