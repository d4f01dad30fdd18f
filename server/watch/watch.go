// Package watch tells those who wait for something that it changed.
package watch

import "sync"

// Set is those who wait, by the id of what they wait for. It is safe for
// concurrent use and holds nothing of an id that nobody waits for.
type Set struct {
	mu sync.Mutex
	by map[string]map[chan struct{}]struct{}
}

// NewSet returns an empty Set.
func NewSet() *Set { return &Set{by: make(map[string]map[chan struct{}]struct{})} }

// Watch returns a channel that gets a value at the next change of id; changes
// that come before the value is taken are one. stop must be called.
func (s *Set) Watch(id string) (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[id] == nil {
		s.by[id] = make(map[chan struct{}]struct{})
	}
	s.by[id][ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.by[id], ch)
		if len(s.by[id]) == 0 {
			delete(s.by, id)
		}
	}
}

// Changed tells all who wait for id. It never blocks.
func (s *Set) Changed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.by[id] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
