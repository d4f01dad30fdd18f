package main

import "sync"

// gatherer writes the items of all who wait at once, as the hub's committer does:
// a first one is served at once, and whoever comes meanwhile makes the next group.
type gatherer[T any] struct {
	queue chan waiter[T]
	ended sync.WaitGroup
}

type waiter[T any] struct {
	item  T
	acked chan error
}

// gather starts as many writers as may write at the same time.
func gather[T any](writers, most int, write func([]T) error) *gatherer[T] {
	g := &gatherer[T]{queue: make(chan waiter[T])}
	for range writers {
		g.ended.Go(func() { g.run(most, write) })
	}
	return g
}

// do returns when the item was written with others.
func (g *gatherer[T]) do(item T) error {
	w := waiter[T]{item: item, acked: make(chan error, 1)}
	g.queue <- w
	return <-w.acked
}

func (g *gatherer[T]) run(most int, write func([]T) error) {
	var items []T
	for group := range groups(g.queue, most) {
		items = items[:0]
		for _, w := range group {
			items = append(items, w.item)
		}
		err := write(items)
		for _, w := range group {
			w.acked <- err
		}
	}
}

// close waits for those that write; nobody may call do any more.
func (g *gatherer[T]) close() {
	close(g.queue)
	g.ended.Wait()
}

// groups yields all that is in the channel, again and again, until it is closed.
// A group is valid until the next one.
func groups[T any](from <-chan T, most int) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		var group []T
		for first := range from {
			group = append(group[:0], first)
			for more := true; more && len(group) < most; {
				var next T
				select {
				case next, more = <-from:
				default:
					more = false
				}
				if more {
					group = append(group, next)
				}
			}
			if !yield(group) {
				return
			}
		}
	}
}
