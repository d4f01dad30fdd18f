//go:build postgres

package postgres_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/postgres"
	"github.com/tongcha/tongcha/server/store/postgres/pgtest"
	"github.com/tongcha/tongcha/server/unbind"
)

// queued enqueues an order of a person of its own that is due at once.
func queued(t *testing.T, s *postgres.Store, now time.Time) unbind.Order {
	t.Helper()
	number, err := phone.ParseNumber("13800130001")
	if err != nil {
		t.Fatal(err)
	}
	o := unbind.New(seal.NewID(now), now, now.Add(120*time.Hour), unbind.Order{
		Platform: "shop", Subject: phone.Subject(seal.Token(32)), NumberIndex: phone.Index(seal.Token(32)), Number: number,
		AccountRefs: []string{"r"}, BoundBefore: now, HolderChecked: now,
	})
	_, err = s.Enqueue(t.Context(), unbind.Enqueue{
		Subject: o.Subject, NumberIndex: o.NumberIndex, RequestKey: [32]byte(seal.Token(32)), Now: now,
		Items: []unbind.Item{{Platform: "shop", Order: &o}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func claimAt(t *testing.T, s *postgres.Store, now time.Time, most int) ([]unbind.Claim, time.Time) {
	t.Helper()
	claims, next, err := s.Claim(t.Context(), unbind.ClaimRequest{
		Now: now, Lease: time.Minute, Max: most, Free: func(platform.ID) int { return most },
	})
	if err != nil {
		t.Fatal(err)
	}
	return claims, next
}

func wantReason(t *testing.T, what string, err error, want fault.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// TestHubsShareOrders: whatever hubs claim at the same time, each order is one
// hub's alone, and each can end its own.
func TestHubsShareOrders(t *testing.T) {
	dir := t.TempDir()
	hubs := []*postgres.Store{hub(t, dir, "a"), hub(t, dir, "b"), hub(t, dir, "c")}
	now := time.Now()
	const orders = 90
	for i := range orders {
		queued(t, hubs[i%len(hubs)], now)
	}
	var mu sync.Mutex
	by := make(map[string]int)
	var wg sync.WaitGroup
	for i, s := range hubs {
		defer s.Close()
		wg.Go(func() {
			for range orders {
				claims, _ := claimAt(t, s, now, 4)
				for _, c := range claims {
					mu.Lock()
					if other, twice := by[c.Order.ID]; twice {
						t.Errorf("hubs %d and %d have the same order", other, i)
					}
					by[c.Order.ID] = i
					mu.Unlock()
					if _, err := s.Finish(t.Context(), c, unbind.Abandon(unbind.Attempt{Began: now, Ended: now}, "TEST")); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if len(by) != orders {
		t.Errorf("%d orders were claimed, want %d", len(by), orders)
	}
}

// TestHubThatDied: its orders go to another hub when the lease is over, and it can
// write no more, whether or not it comes back.
func TestHubThatDied(t *testing.T) {
	dir := t.TempDir()
	a, b := hub(t, dir, "a"), hub(t, dir, "b")
	defer b.Close()
	now := time.Now().Truncate(time.Microsecond)
	o := queued(t, a, now.Add(-time.Hour))
	old, _ := claimAt(t, a, now.Add(-30*time.Second), 1) // until in 30 s
	if len(old) != 1 {
		t.Fatalf("%d claims", len(old))
	}
	if claims, next := claimAt(t, b, now, 1); len(claims) != 0 || !next.Equal(old[0].Until) {
		t.Errorf("%d claims, next %v, want none until %v", len(claims), next, old[0].Until)
	}
	again, _ := claimAt(t, b, old[0].Until, 1)
	if len(again) != 1 || again[0].Token <= old[0].Token {
		t.Fatalf("claimed again: %+v after token %d", again, old[0].Token)
	}
	done := unbind.Abandon(unbind.Attempt{Began: now, Ended: now}, "TEST")
	_, err := a.Finish(t.Context(), old[0], done)
	wantReason(t, "the first holder", err, fault.LeaseLost)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = hub(t, dir, "a")
	defer a.Close()
	if claims, _ := claimAt(t, a, now, 1); len(claims) != 0 {
		t.Error("a start voided another hub's lease")
	}
	// The first attempt may have reached the platform, so that giving the order back
	// does not make it one that was never sent.
	b.Release(t.Context(), again)
	_, err = b.Cancel(t.Context(), o.Subject, o.ID, unbind.CancelledByPerson(now))
	wantReason(t, "cancel", err, fault.AlreadySent)
	again, _ = claimAt(t, a, now, 1)
	if len(again) != 1 {
		t.Fatal("an order that was given back is not due")
	}
	if _, err := a.Finish(t.Context(), again[0], done); err != nil {
		t.Error(err)
	}
}

// TestCancelAfterRelease: an order that was claimed and given back was not sent.
func TestCancelAfterRelease(t *testing.T) {
	a := hub(t, t.TempDir(), "a")
	defer a.Close()
	now := time.Now()
	o := queued(t, a, now)
	claims, _ := claimAt(t, a, now, 1)
	a.Release(t.Context(), claims)
	if _, err := a.Cancel(t.Context(), o.Subject, o.ID, unbind.CancelledByPerson(now)); err != nil {
		t.Error(err)
	}
}

// TestOpenRefuses what would lose or mix up orders.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	a := hub(t, dir, "a")
	refused := func(what, at, name string, keys *seal.Keys, want string) {
		t.Helper()
		s, err := postgres.Open(t.Context(), postgres.Options{URL: at, Hub: name, Keys: keys})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	at := schemaOf(t, dir)
	refused("the same hub twice", at, "a", keysIn(t, dir), `a hub named "a" is running`)
	refused("other keys", at, "b", keysIn(t, t.TempDir()), "sealed with other keys")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := hub(t, dir, "a").Close(); err != nil { // and the refusals harmed nothing
		t.Fatal(err)
	}
	careless, err := pgtest.Start(os.TempDir(), "fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := careless.Stop(); err != nil {
			t.Error(err)
		}
	}()
	refused("a server that does not sync", careless.URL(), "a", keysIn(t, dir), "set fsync=on")
}
