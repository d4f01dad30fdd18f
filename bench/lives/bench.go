package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tongcha/tongcha/bench/internal/noise"
	"github.com/tongcha/tongcha/server/store/postgres/pgtest"
)

type options struct {
	dir       string
	rounds    int
	each      time.Duration
	producers []int
	only      []string
	writers   int
}

// bounds keep a run finite whatever the flags say.
func (o options) bounds() error {
	if o.rounds < 1 || o.rounds > 20 || o.each <= 0 || o.each > time.Minute {
		return errors.New("-rounds must be 1 to 20 and -each above 0 and at most 1m")
	}
	if o.writers < 1 || o.writers > 8 {
		return errors.New("-writers must be 1 to 8")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(arms(), func(a arm) bool { return a.name == name }) {
			return fmt.Errorf("-only: there is no arm %q", name)
		}
	}
	return nil
}

// cell is what was measured of one arm with one number of producers.
type cell struct {
	rates []float64 // lives a second, one of each round
	acks  []time.Duration
	cpu   time.Duration // of both processes, warm-up and end included
	lives int64         // that it was used for
	other float64       // the most of the machine that strangers used in a round
}

// bench is a run.
type bench struct {
	options
	pg    *pgtest.Server
	arms  []arm
	cells map[string][]cell // by arm; parallel to producers
}

// run measures arms in turn, so that a disturbance from outside does not meet one
// alone.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	if err := o.bounds(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "lives-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the server runs as another user
		return err
	}
	o.dir = dir
	b := &bench{options: o, cells: make(map[string][]cell)}
	for _, a := range arms() {
		if len(o.only) == 0 || slices.Contains(o.only, a.name) {
			b.arms = append(b.arms, a)
			b.cells[a.name] = make([]cell, len(o.producers))
		}
	}
	if b.pg, err = pgtest.Start(dir, settings()...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.pg.Stop()) }()
	for range o.rounds {
		for i := range o.producers {
			for _, a := range b.arms {
				if err := b.once(ctx, a, i); err != nil {
					return fmt.Errorf("%s, %d producers: %w", a.name, o.producers[i], err)
				}
			}
		}
	}
	return b.print(out)
}

// once measures an arm for a round.
func (b *bench) once(ctx context.Context, a arm, i int) error {
	dir, err := os.MkdirTemp(b.dir, "arm-")
	if err != nil {
		return err
	}
	s := newSlot(b.producers[i])
	q, err := a.open(ctx, place{dir: dir, url: b.pg.URL(), writers: b.writers}, s.finished)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	meter := noise.StartTree(b.pg.PID())
	rate, err := s.measure(ctx, q, b.each)
	cpu, other := meter.Own(), meter.Share()
	if err := errors.Join(err, q.Close(), os.RemoveAll(dir)); err != nil {
		return err
	}
	c := &b.cells[a.name][i]
	c.rates = append(c.rates, rate)
	c.acks = append(c.acks, s.acks...)
	c.cpu, c.lives, c.other = c.cpu+cpu, c.lives+s.done.Load(), max(c.other, other)
	return nil
}
