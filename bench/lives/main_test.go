package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRun lives through a few orders in every arm; that none is lost or ended
// twice is checked by each slot itself.
func TestRun(t *testing.T) {
	var out strings.Builder
	o := options{dir: os.TempDir(), rounds: 1, each: 200 * time.Millisecond, producers: []int{1, 16}, writers: 1}
	if err := run(t.Context(), &out, o); err != nil {
		t.Fatal(err)
	}
	for _, a := range arms() {
		if strings.Count(out.String(), a.name) < len(o.producers) {
			t.Errorf("no lines of %s in:\n%s", a.name, out.String())
		}
	}
}

// forgetful is a queue that acknowledges and forgets every other order.
type forgetful struct {
	mu       sync.Mutex
	n        int
	finished func(int, error)
}

func (q *forgetful) Enqueue(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n++; q.n%2 == 0 {
		q.finished(1, nil)
	}
	time.Sleep(time.Millisecond)
	return nil
}

func (*forgetful) Close() error { return nil }

// TestLostOrdersAreNoticed: a queue that loses orders gets no figure.
func TestLostOrdersAreNoticed(t *testing.T) {
	s := newSlot(2)
	s.drain = 50 * time.Millisecond
	rate, err := s.measure(t.Context(), &forgetful{finished: s.finished}, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "acknowledged") {
		t.Errorf("rate %f, error %v", rate, err)
	}
}

// TestGather: whoever waits is written once and told of its own group's error.
func TestGather(t *testing.T) {
	bad := errors.New("bad")
	var mu sync.Mutex
	wrote := make(map[int]int)
	g := gather(2, 8, func(items []int) error {
		mu.Lock()
		defer mu.Unlock()
		if len(items) > 8 {
			t.Errorf("a group of %d", len(items))
		}
		for _, i := range items {
			wrote[i]++
			if i == 7 {
				return bad
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := g.do(i); i == 7 && !errors.Is(err, bad) || err != nil && !errors.Is(err, bad) {
				t.Errorf("item %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	g.close()
	for i, n := range wrote {
		if n != 1 {
			t.Errorf("item %d was written %d times", i, n)
		}
	}
}

// TestBounds: flags can't make a run that does not end.
func TestBounds(t *testing.T) {
	for _, o := range []options{
		{rounds: 0, each: time.Second, writers: 1}, {rounds: 21, each: time.Second, writers: 1}, {rounds: 1, writers: 1},
		{rounds: 1, each: time.Hour, writers: 1}, {rounds: 1, each: time.Second}, {rounds: 1, each: time.Second, writers: 1, only: []string{"none"}},
	} {
		if o.bounds() == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}
