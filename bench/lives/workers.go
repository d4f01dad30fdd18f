package main

import (
	"context"
	"sync"
	"time"
)

const (
	claimMost = 100  // orders of one claim
	inFlight  = 1024 // attempts under way at the same time, for each arm that lets one choose
	idle      = 20 * time.Millisecond
)

// workers claim in a loop and finish what they claimed, each order on its own
// goroutine, as the dispatcher does.
type workers[T any] struct {
	claim  func(ctx context.Context, most int) ([]T, error)
	finish func(ctx context.Context, claimed T) error
	told   func(int, error)

	wake  chan struct{}
	slots chan struct{}
	stop  context.CancelFunc
	ended sync.WaitGroup
}

func (w *workers[T]) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.wake, w.slots = stop, make(chan struct{}, 1), make(chan struct{}, inFlight)
	w.ended.Go(func() { w.run(ctx) })
}

// due says that there is something to claim.
func (w *workers[T]) due() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *workers[T]) run(ctx context.Context) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for ctx.Err() == nil {
		most := min(claimMost, cap(w.slots)-len(w.slots))
		claims, err := w.claim(ctx, most)
		if err != nil {
			w.told(0, err)
			return
		}
		for _, c := range claims {
			w.slots <- struct{}{}
			attempts.Go(func() {
				err := w.finish(ctx, c)
				<-w.slots
				if err != nil {
					w.told(0, err)
					return
				}
				w.told(1, nil)
				w.due() // there is room for one more
			})
		}
		if len(claims) < claimMost {
			w.wait(ctx)
		}
	}
}

func (w *workers[T]) wait(ctx context.Context) {
	select {
	case <-w.wake:
	case <-time.After(idle):
	case <-ctx.Done():
	}
}

func (w *workers[T]) close() {
	w.stop()
	w.ended.Wait()
}
