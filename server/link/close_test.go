package link_test

import (
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// Close ends calls in flight and in the queue, and leaves no goroutine; a bubble
// that leaks one panics.
func TestCloseUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		r, p := w.shop()
		var qs []*question
		for range 100 {
			qs = append(qs, ask(t, p, time.Hour))
		}
		synctest.Wait()
		start := time.Now()
		r.Close()
		for _, q := range qs {
			if !q.Finished() {
				t.Fatal("Close returned before a call was finished")
			}
			if a := q.wait(); a.State != platform.Silent || a.Malformed {
				t.Errorf("%+v", a)
			}
		}
		if time.Since(start) != 0 {
			t.Errorf("Close took %v", time.Since(start))
		}
		r.Close()
	})
}

// The same over real sockets, with a peer that accepts and says nothing.
func TestCloseLeavesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	before := runtime.NumGoroutine()
	w := newWorld(t)
	opts := w.options()
	opts.Dialer = nil
	r := link.NewRoster(opts)
	for _, id := range []platform.ID{"one", "two", "three"} {
		if err := r.Join(platform.Entry{ID: id, Address: l.Addr().String()}); err != nil {
			t.Fatal(err)
		}
	}
	var qs []*question
	for _, p := range r.Platforms() {
		for range 10 {
			qs = append(qs, ask(t, p, time.Minute))
		}
	}
	r.Close()
	for _, q := range qs {
		if a := q.wait(); a.State != platform.Silent {
			t.Errorf("%+v", a)
		}
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
