package hub

import (
	"context"
	"sync"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
)

// store keeps nothing on disk, so that the fan-out is measured and not the
// database. The embedded Store is nil: what else the port may ask is not for
// these programs.
type store struct {
	lookup.Store
	keep bool // complete lookups, until they are forgotten

	mu   sync.Mutex
	done map[string]chan<- lookup.Lookup
	kept map[string]lookup.Lookup
}

// doneKey is where a context holds the channel that gets the complete lookup.
type doneKey struct{}

func newStore(keep bool) *store {
	return &store{keep: keep, done: make(map[string]chan<- lookup.Lookup), kept: make(map[string]lookup.Lookup)}
}

// Create remembers who waits.
func (s *store) Create(ctx context.Context, l lookup.Lookup, _ lookup.Admission) (string, error) {
	done, _ := ctx.Value(doneKey{}).(chan lookup.Lookup)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[l.ID] = done
	return l.ID, nil
}

// Merge tells who waits, once.
func (s *store) Merge(_ context.Context, l lookup.Lookup) error {
	if !l.Complete {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.done[l.ID]
	delete(s.done, l.ID)
	if s.keep {
		s.kept[l.ID] = l
	}
	if done != nil {
		done <- l // which has room for one
	}
	return nil
}

// Get finds what is kept.
func (s *store) Get(_ context.Context, subject phone.Subject, id string) (lookup.Lookup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.kept[id]
	if !ok || l.Subject != subject {
		return lookup.Lookup{}, fault.LookupNotFound.New()
	}
	return l, nil
}

func (s *store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, id)
}
