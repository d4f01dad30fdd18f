package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// workers are what a hub does by itself while it serves: dispatch orders, ask
// silent platforms again, flush figures, forget what is over.
type workers struct {
	h      *Hub
	failed chan<- error
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
}

// The rhythm of the workers.
const (
	flushEvery = 10 * time.Second
	sweepEvery = time.Minute
	sweepBatch = 500 // records of one transaction, so that it holds up nobody
)

func newWorkers(h *Hub, failed chan<- error) *workers {
	ctx, cancel := context.WithCancel(context.Background())
	return &workers{h: h, failed: failed, ctx: ctx, cancel: cancel}
}

func (w *workers) start() {
	w.all.Go(func() {
		if err := w.h.dispatch.Run(w.ctx); err != nil {
			w.failed <- fmt.Errorf("dispatcher: %w", err)
		}
	})
	w.all.Go(func() {
		if err := w.h.lookups.RunReasks(w.ctx); err != nil {
			w.failed <- fmt.Errorf("late questions: %w", err)
		}
	})
	w.all.Go(func() { w.every(flushEvery, w.flush) })
	w.all.Go(func() { w.every(sweepEvery, w.sweep) })
}

func (w *workers) every(d time.Duration, do func(context.Context) error) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		if err := do(w.ctx); err != nil && w.ctx.Err() == nil && !errors.Is(err, fault.StoreFailed) {
			w.h.cfg.Logger.Error("housekeeping failed", "error", err)
		}
		select {
		case <-t.C:
		case <-w.ctx.Done():
			return
		}
	}
}

// flush adds the counted answers to the store's. A crash loses at most what was
// counted since the last flush.
func (w *workers) flush(ctx context.Context) error {
	if err := w.h.counter.Flush(ctx, w.h.store); err != nil {
		return fmt.Errorf("flush figures: %w", err)
	}
	w.h.pulse.flushed.Store(w.h.clock.Now().UnixNano())
	return nil
}

func (w *workers) sweep(ctx context.Context) error {
	for {
		more, err := w.h.store.Sweep(ctx, w.h.clock.Now(), sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if !more {
			w.h.pulse.swept.Store(w.h.clock.Now().UnixNano())
			return w.h.noteAbandoned(ctx)
		}
	}
}

// lastFlush bounds the flush at the end.
const lastFlush = time.Second

// stop ends the workers, waits for them until ctx ends, and flushes what is left,
// also where they did not end in time: what was counted is nobody's work any more.
func (w *workers) stop(ctx context.Context) error {
	w.cancel()
	var late error
	done := make(chan struct{})
	go func() { w.all.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		late = errors.New("work under way did not end in time; its orders are due again at the next start")
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	return errors.Join(late, w.flush(last))
}
