package simulator_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
	"github.com/tongcha/tongcha/connectors/simulator"
)

func wantAccounts(t *testing.T, a *connectorv1.SubjectAnswer, err error, periods ...connectorv1.AccountPeriod) {
	t.Helper()
	if err != nil || len(a.GetAccounts()) != len(periods) {
		t.Fatalf("answer = %v, %v; want %d accounts", a, err, len(periods))
	}
	for i, p := range periods {
		if got := a.GetAccounts()[i].GetPeriod(); got != p {
			t.Errorf("account %d: %v, want %v", i, got, p)
		}
	}
}

const (
	before = connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER
	since  = connectorv1.AccountPeriod_ACCOUNT_PERIOD_SINCE_HOLDER
)

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Sync}, false)
		a, err := p.lookup(time.Second)
		wantAccounts(t, a, err, before, since)
		for range 5 {
			if r := p.unbind("o-1", 1); r.GetState() != sdk.StateCompleted {
				t.Errorf("result = %v", r)
			}
		}
		a, err = p.lookup(time.Second)
		wantAccounts(t, a, err, since)
		if r := p.unbind("o-2", 1); r.GetState() != sdk.StateCompleted {
			t.Errorf("nothing left: %v", r)
		}
		p.wantEffects(2)
		if e := effectLines(t, p.dir); e[0].Removed != 1 || e[1].Removed != 0 {
			t.Errorf("effects = %+v", e)
		}
	})
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Slow}, false)
		begin := time.Now()
		a, err := p.lookup(3 * time.Second)
		wantAccounts(t, a, err, before, since)
		if d := time.Since(begin); d != 1200*time.Millisecond {
			t.Errorf("answered after %v of virtual time", d)
		}
		if a, err = p.lookup(time.Second); err != nil || a.GetState() != connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME {
			t.Errorf("answer = %v, %v", a, err)
		}
	})
}

func TestAsyncIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Async}, false)
		if r := p.unbind("o-1", 1); r.GetState() != sdk.StateAccepted || r.GetCheckAfter() == nil {
			t.Errorf("result = %v", r)
		}
		p.wantEffects(0)
		time.Sleep(1500 * time.Millisecond)
		if s := p.state("o-1"); s != sdk.StateInReview {
			t.Errorf("state = %v", s)
		}
		p.unbind("o-1", 2) // the hub tries again
		time.Sleep(3 * time.Second)
		if s := p.state("o-1"); s != sdk.StateCompleted {
			t.Errorf("state = %v", s)
		}
		p.wantEffects(1)
		_, err := p.GetUnbind(t.Context(), &connectorv1.GetUnbindRequest{OrderId: "o-2"})
		wantCode(t, err, codes.NotFound)
	})
}

func TestAsyncReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Async}, true)
		p.hub.Fail(codes.Unavailable) // the first report has to be repeated
		p.unbind("o-1", 1)
		time.Sleep(time.Minute)
		got := p.hub.Reports()
		if len(got) != 2 || got[0].GetState() != hubv1.ReportedState_REPORTED_STATE_IN_REVIEW ||
			got[1].GetState() != hubv1.ReportedState_REPORTED_STATE_COMPLETED || got[1].GetOrderId() != "o-1" {
			t.Errorf("reports = %v", got)
		}
		p.wantEffects(1)
	})
}

func TestAsyncForgetsOnRestartButNotWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Async}, false)
		if _, err := p.data.Unbind("shop", sdk.Order{ID: "o-1", PhoneNumber: numberA, AccountRefs: []string{"r"}}); err != nil {
			t.Fatal(err)
		}
		if s := p.state("o-1"); s != sdk.StateCompleted {
			t.Errorf("GetUnbind of an order done before: %v", s)
		}
		if r := p.unbind("o-1", 2); r.GetState() != sdk.StateCompleted {
			t.Errorf("RequestUnbind of an order done before: %v", r)
		}
		p.wantEffects(1)
	})
}

func TestRefusing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Refusing}, false)
		r := p.unbind("o-1", 1)
		if r.GetState() != sdk.StateRefused || r.GetRefusalReason() != sdk.HasBalance || !strings.Contains(r.GetRefusalText(), "余额") {
			t.Errorf("result = %v", r)
		}
		p.wantEffects(0)
		a, err := p.lookup(time.Second)
		wantAccounts(t, a, err, before, since)
	})
}

func TestRefusingYieldsToAnAppeal(t *testing.T) {
	for yields, want := range map[int][]sdk.UnbindState{
		0:  {sdk.StateRefused, sdk.StateCompleted, sdk.StateCompleted},
		2:  {sdk.StateRefused, sdk.StateRefused, sdk.StateCompleted},
		-1: {sdk.StateRefused, sdk.StateRefused, sdk.StateRefused},
	} {
		synctest.Test(t, func(t *testing.T) {
			spec := simulator.Spec{Behaviour: simulator.Refusing, YieldsTo: yields}
			p := start(t, spec, false)
			last := want[0]
			for n, state := range want {
				if last = p.appeal("o-1", n).GetState(); last != state {
					t.Errorf("yields to %d, appeal %d: %v, want %v", yields, n, last, state)
				}
			}
			effects := 0
			if last == sdk.StateCompleted {
				effects = 1
			}
			p.wantEffects(effects)
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			again := p.again(spec) // with a memory of effects alone
			if got := again.appeal("o-1", 0).GetState(); got != last {
				t.Errorf("a late repeat after a restart: %v, want %v", got, last)
			}
			again.wantEffects(effects)
		})
	}
}

func TestRedirecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Redirecting}, true)
		for _, id := range []string{"o-1", "o-2"} {
			if r := p.unbind(id, 1); r.GetState() != sdk.StateActionRequired || r.GetActionUrl() != "https://shop.example/unbind/"+id {
				t.Errorf("result = %v", r)
			}
		}
		p.wantEffects(0)
		if !p.Visit("o-2") || p.Visit("o-2") || p.Visit("o-3") {
			t.Error("Visit must count once, for a known order")
		}
		synctest.Wait()
		if s1, s2 := p.state("o-1"), p.state("o-2"); s1 != sdk.StateActionRequired || s2 != sdk.StateCompleted {
			t.Errorf("after the visit: %v, %v", s1, s2)
		}
		time.Sleep(7 * time.Second)
		if s := p.state("o-1"); s != sdk.StateCompleted {
			t.Errorf("after 7s: %v", s)
		}
		p.wantEffects(2)
		if got := len(p.hub.Reports()); got != 2 {
			t.Errorf("%d reports, want 2", got)
		}
	})
}

func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Silent}, false)
		if _, err := p.Describe(t.Context(), &connectorv1.DescribeRequest{}); err != nil {
			t.Errorf("Describe: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := p.RequestUnbind(ctx, p.order("o-1", 1))
		wantCode(t, err, codes.DeadlineExceeded)
		failed := make(chan error, 1)
		go func() { _, err := p.lookup(time.Second); failed <- err }()
		time.Sleep(time.Hour)
		select {
		case err := <-failed:
			t.Errorf("the lookup was answered: %v", err)
		default:
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		wantCode(t, <-failed, codes.Unavailable)
		p.wantEffects(0)
	})
}

func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Flapping}, false)
		for i := range 4 {
			_, err := p.lookup(time.Second)
			wantCode(t, err, []codes.Code{codes.Unavailable, codes.OK}[i%2])
		}
		_, err := p.RequestUnbind(t.Context(), p.order("o-1", 1))
		wantCode(t, err, codes.Unavailable)
		p.wantEffects(0)
		if r := p.unbind("o-1", 2); r.GetState() != sdk.StateCompleted {
			t.Errorf("result = %v", r)
		}
		p.wantEffects(1)
	})
}

func TestPlatformOnItsOwnPort(t *testing.T) {
	a, d := sdktest.NewAuthority(t), open(t, t.TempDir())
	s, err := simulator.StartPlatform(t.Context(), simulator.Spec{ID: "shop", Behaviour: simulator.Sync}, d,
		simulator.Endpoint{Credentials: a.Issue(sdk.RolePlatform, "shop")})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Address(), "127.0.0.1:") || s.Address() == "127.0.0.1:0" {
		t.Errorf("address = %s", s.Address())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for name, spec := range map[string]simulator.Spec{
		"behaviour": {ID: "shop", Behaviour: "ODD"}, "id": {ID: "bank", Behaviour: simulator.Sync},
	} {
		if _, err := simulator.StartPlatform(t.Context(), spec, d, simulator.Endpoint{Credentials: a.Issue(sdk.RolePlatform, "shop")}); err == nil {
			t.Errorf("started with a wrong %s", name)
		}
	}
}
