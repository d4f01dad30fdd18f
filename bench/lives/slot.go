package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// queue is where orders live: workers behind it claim and finish what is enqueued.
type queue interface {
	// Enqueue returns when one more order is on disk.
	Enqueue(context.Context) error
	// Close stops the workers.
	Close() error
}

const (
	// maxOpen keeps producers from running away from workers; all arms hold the
	// same queue at most.
	maxOpen    = 4096
	drainLimit = 30 * time.Second
)

// slot measures one arm for a while: producers enqueue one order after the other
// as fast as they are acknowledged, and orders count once they are finished.
type slot struct {
	producers int
	drain     time.Duration // how long orders still open at the end may take
	open      chan struct{} // a place for each open order
	done      atomic.Int64
	made      atomic.Int64
	failure   atomic.Pointer[error]

	mu   sync.Mutex
	acks []time.Duration // of those enqueued beyond the warm-up
}

func newSlot(producers int) *slot {
	return &slot{producers: producers, drain: drainLimit, open: make(chan struct{}, maxOpen)}
}

// finished counts orders whose end is on disk. An error ends the slot.
func (s *slot) finished(n int, err error) {
	if err != nil {
		s.failure.CompareAndSwap(nil, &err)
	}
	s.done.Add(int64(n))
	for range n {
		<-s.open
	}
}

// measure returns finished orders a second after a warm-up, and checks that each
// order that was acknowledged was finished once.
func (s *slot) measure(ctx context.Context, q queue, each time.Duration) (float64, error) {
	warm := max(each/4, min(each, 500*time.Millisecond))
	ctx, cancel := context.WithTimeout(ctx, warm+each)
	defer cancel()
	from := time.Now().Add(warm)
	var producers sync.WaitGroup
	for range s.producers {
		producers.Go(func() { s.produce(ctx, q, from) })
	}
	sleep(ctx, warm)
	began, before := time.Now(), s.done.Load()
	<-ctx.Done()
	rate := float64(s.done.Load()-before) / time.Since(began).Seconds()
	producers.Wait()
	for end := time.Now().Add(s.drain); s.done.Load() < s.made.Load() && time.Now().Before(end) && s.failure.Load() == nil; {
		time.Sleep(time.Millisecond)
	}
	if err := s.failure.Load(); err != nil {
		return 0, *err
	}
	if made, done := s.made.Load(), s.done.Load(); made != done {
		return 0, fmt.Errorf("%d orders acknowledged, %d finished", made, done)
	}
	return rate, nil
}

func (s *slot) produce(ctx context.Context, q queue, from time.Time) {
	var acks []time.Duration
	for s.failure.Load() == nil {
		select {
		case s.open <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		// What is begun is waited for: an order given up halfway would be counted by
		// one side alone.
		if err := q.Enqueue(context.WithoutCancel(ctx)); err != nil {
			s.failure.CompareAndSwap(nil, &err)
			break
		}
		s.made.Add(1)
		if began.After(from) {
			acks = append(acks, time.Since(began))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acks = append(s.acks, acks...)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
