package lookup

import (
	"context"
	"fmt"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
)

// Get returns the subject's lookup as it is now.
//
// Errors: fault.LookupNotFound.
func (s *Service) Get(ctx context.Context, subject phone.Subject, id string) (Lookup, error) {
	l, _, err := s.look(ctx, subject, id)
	return l, err
}

// Wait returns the subject's lookup once its revision is above since, it is
// complete, or wait is over, whichever is first.
//
// Errors: fault.LookupNotFound, or the context's.
func (s *Service) Wait(ctx context.Context, subject phone.Subject, id string, wait time.Duration, since int) (Lookup, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		l, changed, err := s.look(ctx, subject, id)
		if err != nil || l.Revision > since || l.Complete {
			return l, err
		}
		select {
		case <-changed:
		case <-timeout.C:
			return l, nil
		case <-s.closing:
			return l, nil
		case <-ctx.Done():
			return Lookup{}, context.Cause(ctx)
		}
	}
}

// look returns the lookup and, where it still runs, a channel that is closed at
// its next change.
func (s *Service) look(ctx context.Context, subject phone.Subject, id string) (Lookup, <-chan struct{}, error) {
	s.mu.Lock()
	r := s.live[id]
	s.mu.Unlock()
	if r != nil {
		l, changed := r.watch()
		if l.Subject != subject {
			return Lookup{}, nil, fault.LookupNotFound.New()
		}
		return l, changed, nil
	}
	l, err := s.o.Store.Get(ctx, subject, id)
	if err != nil {
		return Lookup{}, nil, fmt.Errorf("get lookup: %w", err)
	}
	return l.settled(), nil, nil
}

// WaitLate is Wait that goes on after the end: it returns the subject's lookup
// once its revision is above since, no late answer is awaited any more, or wait
// is over, whichever is first.
//
// Errors: fault.LookupNotFound, or the context's.
func (s *Service) WaitLate(ctx context.Context, subject phone.Subject, id string, wait time.Duration, since int) (Lookup, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	late, stop := s.watches.Watch(id) // before the first look, so that nothing falls between
	defer stop()
	var final <-chan time.Time
	for {
		l, changed, err := s.look(ctx, subject, id)
		if err != nil || l.Revision > since || l.Complete && !l.AwaitsLate(s.o.Now()) {
			return l, err
		}
		if final == nil {
			end := time.NewTimer(l.FinalBy.Sub(s.o.Now()))
			defer end.Stop()
			final = end.C
		}
		select {
		case <-changed:
		case <-late:
		case <-final:
		case <-timeout.C:
			return l, nil
		case <-s.closing:
			return l, nil
		case <-ctx.Done():
			return Lookup{}, context.Cause(ctx)
		}
	}
}
