package rpc

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
)

const (
	newCode   = hubv1.VerificationService_CreateVerification_FullMethodName
	newLookup = hubv1.LookupService_CreateLookup_FullMethodName
)

func none() int { return 0 }

// inGate runs a story with the time of a bubble.
func inGate(t *testing.T, maxLookups int, running func() int, story func(*gate)) {
	synctest.Test(t, func(*testing.T) { story(newGate(maxLookups, running, nil)) })
}

// enters takes places from one address until one is refused, at most n.
func enters(g *gate, method, address string, n int) (in []caller, err error) {
	for range n {
		c := caller{fromGateway: true, address: address}
		if err := g.enter(method, &c); err != nil {
			return in, err
		}
		in = append(in, c)
	}
	return in, nil
}

func leaves(in []caller) {
	for _, c := range in {
		c.leave()
	}
}

// slow lets windows pass in which no step was quick.
func slow(g *gate, windows int) {
	for range windows * 10 {
		g.stepped(target + time.Millisecond)
		time.Sleep(window / 10)
	}
}

// An idle hub refuses nobody, whatever went before.
func TestNeverRefusesWhenIdle(t *testing.T) {
	inGate(t, 1, none, func(g *gate) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			address := fmt.Sprintf("203.0.113.%d", rnd.IntN(3))
			for method := range kinds {
				in, err := enters(g, method, address, 1)
				if err != nil {
					t.Fatalf("%s: %v", method, err)
				}
				leaves(in)
			}
			in, _ := enters(g, newCode, address, rnd.IntN(2*mostPlaces))
			for range rnd.IntN(20) {
				g.stepped(rand.N(4 * target))
			}
			leaves(in)
			time.Sleep(time.Duration(rnd.Int64N(int64(3 * window))))
		}
		if len(g.by) != 0 {
			t.Errorf("%d addresses are left", len(g.by))
		}
	})
}

func TestPlacesFollowTheDelay(t *testing.T) {
	inGate(t, 0, none, func(g *gate) {
		in, err := enters(g, newCode, "", 400)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 { // a burst: many steps are slow, one is not
			slow(g, 1)
			g.stepped(time.Millisecond)
		}
		if got := g.delay.now(time.Now()); got != mostPlaces {
			t.Errorf("a burst leaves %d places", got)
		}
		time.Sleep(window)
		slow(g, 2)
		if got := g.delay.now(time.Now()); got > 300 || got < 200 {
			t.Errorf("%d places after two slow seconds of 400 calls", got)
		}
		var f *fault.Error
		if _, err := enters(g, newCode, "", 1); !errors.As(err, &f) || f.Reason != fault.Overloaded || f.RetryAfter < soonest || f.RetryAfter >= latest {
			t.Errorf("the hub is slow and full: %v", err)
		}
		if _, err := enters(g, newLookup, "", 1); err != nil {
			t.Errorf("calls of one kind keep out another: %v", err)
		}
		slow(g, 60)
		if got := g.delay.now(time.Now()); got != leastPlaces {
			t.Errorf("%d places after a slow minute", got)
		}
		leaves(in)
		time.Sleep(time.Minute)
		if got := g.delay.now(time.Now()); got != mostPlaces {
			t.Errorf("%d places after a quiet minute", got)
		}
	})
}

// However many calls one address makes, others find a place; one that stands for
// everybody has them all.
func TestAddressesShare(t *testing.T) {
	inGate(t, 0, none, func(g *gate) {
		greedy, err := enters(g, newCode, "203.0.113.1", 2*mostPlaces)
		if len(greedy) != mostPlaces*3/4 || err == nil {
			t.Errorf("one address has %d places: %v", len(greedy), err)
		}
		if others, err := enters(g, newCode, "203.0.113.2", mostPlaces/4); err != nil {
			t.Errorf("another address has %d places: %v", len(others), err)
		}
		if all, err := enters(g, newLookup, "127.0.0.1", mostPlaces); err != nil {
			t.Errorf("this machine has %d places: %v", len(all), err)
		}
	})
}

func TestOnlyNewWorkIsRefused(t *testing.T) {
	inGate(t, 1, func() int { return 1 }, func(g *gate) {
		for method := range methods {
			_, err := enters(g, method, "", 1)
			if full := method == newLookup; (err != nil) != full {
				t.Errorf("%s: %v", method, err)
			}
			if err := g.enter(method, &caller{}); err != nil {
				t.Errorf("%s past the gateway: %v", method, err)
			}
		}
	})
}

func TestRetriesAreSpread(t *testing.T) {
	inGate(t, 1, func() int { return 1 }, func(g *gate) {
		seen := make(map[time.Duration]bool)
		for range 100 {
			_, err := enters(g, newLookup, "", 1)
			seen[fault.Of(err).RetryAfter] = true
		}
		if len(seen) < 90 {
			t.Errorf("100 clients come back at %d times", len(seen))
		}
	})
}

// A disk without room turns away new work alone, and that as long as it lasts.
func TestStorageFull(t *testing.T) {
	full := true
	g := newGate(1, none, func() bool { return full })
	want := make(map[[2]string]int)
	for method, kind := range kinds {
		_, err := enters(g, method, "203.0.113.1", 1)
		if f := fault.Of(err); !errors.Is(err, fault.StorageFull) || f.RetryAfter != storageRetry {
			t.Errorf("%s: %v", kind, err)
		}
		want[[2]string{kind, causeStorage}]++
	}
	if !maps.Equal(g.rejected, want) {
		t.Errorf("rejected %v, want %v", g.rejected, want)
	}
	for _, method := range []string{
		hubv1.LookupService_GetLookup_FullMethodName, hubv1.VerificationService_ConfirmVerification_FullMethodName,
		hubv1.UnbindService_CancelUnbind_FullMethodName, hubv1.MembershipService_ReportUnbind_FullMethodName,
	} {
		if _, err := enters(g, method, "203.0.113.1", 1); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	full = false
	for method := range kinds {
		in, err := enters(g, method, "203.0.113.1", 1)
		if err != nil {
			t.Error(err)
		}
		leaves(in)
	}
}
