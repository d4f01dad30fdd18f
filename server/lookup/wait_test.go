package lookup_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
)

func TestWaitForRevision(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		begin := time.Now()
		l := h.start(r)
		wait := func(d time.Duration, since int) lookup.Lookup {
			h.Helper()
			got, err := h.service.Wait(h.Context(), r.Subject, l.ID, d, since)
			h.check(err)
			return got
		}
		if got := wait(time.Hour, 0); got.Revision != 1 || time.Since(begin) != 0 {
			h.Errorf("an older revision: %d after %v", got.Revision, time.Since(begin))
		}
		if got := wait(100*time.Millisecond, 1); got.Revision != 1 || time.Since(begin) != 100*time.Millisecond {
			h.Errorf("no change: %d after %v", got.Revision, time.Since(begin))
		}
		if got := wait(time.Hour, 1); got.Revision != 2 || time.Since(begin) != time.Second {
			h.Errorf("the next change: %d after %v", got.Revision, time.Since(begin))
		}
		got := wait(time.Hour, 3) // the silence is revision 3, the end 4
		if !got.Complete || got.Revision != 4 || time.Since(begin) != 2500*time.Millisecond {
			h.Errorf("the end: %d, complete %v after %v", got.Revision, got.Complete, time.Since(begin))
		}
		if got := wait(time.Hour, 99); !got.Complete || time.Since(begin) != 2500*time.Millisecond {
			h.Errorf("nothing more will come, after %v", time.Since(begin))
		}
	}, newPeer("dead", nil), newPeer("slow", after(time.Second)))
}

func TestWaitIsCutOff(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		ctx, cancel := context.WithCancel(h.Context())
		got := make(chan error, 1)
		go func() {
			_, err := h.service.Wait(ctx, r.Subject, l.ID, time.Hour, 1)
			got <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			h.Errorf("cut off: %v", err)
		}
		time.Sleep(time.Minute) // and the lookup went on
		h.states(h.get(r, l.ID), true, platform.Silent)
	}, newPeer("dead", nil))
}

// TestCompleteIsOnDisk: what was shown as complete reads the same after a crash.
func TestCompleteIsOnDisk(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		id := h.start(r).ID
		shown, err := h.service.Wait(h.Context(), r.Subject, id, time.Hour, 99)
		h.check(err)
		h.crash()
		got := h.get(r, id)
		if got.Revision != shown.Revision || !got.Complete {
			h.Errorf("revision %d, complete %v; shown was %d", got.Revision, got.Complete, shown.Revision)
		}
		for i := range shown.Rows {
			if !got.Rows[i].AnswerTime.Equal(shown.Rows[i].AnswerTime) || !got.Rows[i].ReaskTime.Equal(shown.Rows[i].ReaskTime) {
				h.Errorf("row %d answered at %v, shown was %v", i, got.Rows[i].AnswerTime, shown.Rows[i].AnswerTime)
			}
			got.Rows[i].AnswerTime, got.Rows[i].ReaskTime = shown.Rows[i].AnswerTime, shown.Rows[i].ReaskTime
		}
		if !reflect.DeepEqual(got.Rows, shown.Rows) {
			h.Errorf("rows %+v, shown were %+v", got.Rows, shown.Rows)
		}
	}, newPeer("dead", nil), newPeer("fast", atOnce), newPeer("slow", after(time.Second)))
}

// TestCrashInTheMiddle: the lookup of a hub that crashed reads as settled, above
// every revision that was shown.
func TestCrashInTheMiddle(t *testing.T) {
	fast, slow := newPeer("fast", atOnce), newPeer("slow", after(time.Second))
	inHub(t, func(h *hub) {
		h.extra = []platform.Entry{{ID: "without"}}
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(time.Second)
		shown := h.get(r, l.ID)
		old := h.service
		h.crash()
		got := h.get(r, l.ID)
		h.states(got, true, platform.Silent, platform.Silent, platform.Silent, platform.NotJoined)
		if got.Revision <= shown.Revision {
			h.Errorf("revision %d after %d was shown", got.Revision, shown.Revision)
		}
		waited, err := h.service.Wait(h.Context(), r.Subject, l.ID, time.Hour, shown.Revision)
		h.check(err)
		if !waited.Complete {
			h.Error("nobody will ever complete it")
		}
		old.Close(h.Context())
	}, newPeer("dead", nil), fast, slow)
}

func TestClose(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		h.service.Close(ctx)
		if d := time.Since(begin); d != time.Second {
			h.Errorf("Close took %v with a context of 1s", d)
		}
		if _, err := h.service.Start(h.Context(), r); !errors.Is(err, fault.ShuttingDown) {
			h.Errorf("a lookup while closing: %v", err)
		}
		h.service.Close(h.Context())
		if d := time.Since(begin); d != 2500*time.Millisecond {
			h.Errorf("Close took %v, want the platform deadline", d)
		}
		stored, err := h.store.Get(h.Context(), r.Subject, l.ID)
		h.check(err)
		if !stored.Complete {
			h.Error("Close did not wait until the lookup was stored")
		}
	}, newPeer("dead", nil))
}

// brokenStore can't store answers.
type brokenStore struct{ lookup.Store }

func (brokenStore) Merge(context.Context, lookup.Lookup) error { return errors.New("disk full") }

// TestUnstoredLookupIsShown: answers that can't be stored are shown for as long
// as the hub runs.
func TestUnstoredLookupIsShown(t *testing.T) {
	inHub(t, func(h *hub) {
		s := lookup.New(lookup.Options{
			Store: brokenStore{h.store}, Joined: func() []platform.Platform { return h.joined }, Catalogue: h.catalogue, MAC: h.keys,
			Limits: lookup.DefaultLimits(), Logger: slog.New(slog.DiscardHandler),
		})
		r := h.request("alice")
		l, err := s.Start(h.Context(), r)
		h.check(err)
		for range 2 {
			synctest.Wait()
			got, err := s.Get(h.Context(), r.Subject, l.ID)
			h.check(err)
			h.states(got, true, platform.Bound)
			time.Sleep(time.Hour)
		}
	}, newPeer("fast", atOnce))
}

// TestDoneOnce: many answers to one question count once.
func TestDoneOnce(t *testing.T) {
	p := newPeer("torn", nil)
	p.answer = func(c *platform.Call) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		firsts := 0
		for range 64 {
			wg.Go(func() {
				if c.Finish(bound()) {
					mu.Lock()
					firsts++
					mu.Unlock()
				}
			})
		}
		p.Withdraw(c)
		wg.Wait()
		if firsts > 1 {
			t.Errorf("%d answers were the first", firsts)
		}
	}
	inHub(t, func(h *hub) {
		for range 10 {
			r := h.request("alice")
			l := h.get(r, h.start(r).ID)
			if !l.Complete || l.Revision != 3 {
				h.Errorf("complete %v at revision %d, want 3", l.Complete, l.Revision)
			}
		}
		if n := len(h.observed["torn"]); n != 10 {
			h.Errorf("%d answers were observed, want 10", n)
		}
	}, p)
}
