package unbind

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Pause is an operator's pause of the queue.
type Pause struct {
	Platform platform.ID // "" for all
	Time     time.Time
	Reason   string
	By       string // who, as the operator's command line says; may be empty
}

// PauseStore keeps pauses. Both changes are durable when they return.
type PauseStore interface {
	// Pauses returns every pause that is kept.
	Pauses(context.Context) ([]Pause, error)
	// PutPause keeps a pause, instead of the one of the same platform.
	PutPause(context.Context, Pause) error
	// DropPause forgets the pause of a platform; that there is none is no error.
	DropPause(context.Context, platform.ID) error
}

// PausesOptions configures Pauses.
type PausesOptions struct {
	Store  PauseStore
	Wake   func() // makes the dispatcher look for due orders
	Now    func() time.Time
	Logger *slog.Logger
}

// Pauses are the operator's pauses in force. They are on disk before they are in
// force and until they are not any more, so that a crash neither forgets nor
// revives one. A drain is another switch, of the dispatcher itself. It is safe
// for concurrent use.
type Pauses struct {
	o PausesOptions

	changing sync.Mutex // held over the disk and the map, so that they agree
	mu       sync.RWMutex
	by       map[platform.ID]Pause
}

// NewPauses returns Pauses with none in force; Load brings those on disk.
func NewPauses(o PausesOptions) *Pauses {
	return &Pauses{o: o, by: make(map[platform.ID]Pause)}
}

// Load brings what is on disk into force. To be called before orders are sent.
func (p *Pauses) Load(ctx context.Context) error {
	kept, err := p.o.Store.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("read pauses: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range kept {
		p.by[one.Platform] = one
		p.o.Logger.Warn("the queue is paused since before the start", "platform", nameOf(one.Platform), "since", one.Time)
	}
	return nil
}

// Paused reports whether a platform's orders wait for an operator.
func (p *Pauses) Paused(id platform.ID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, all := p.by[""]
	_, one := p.by[id]
	return all || one
}

// All returns every pause in force, that of all platforms first.
func (p *Pauses) All() []Pause {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.SortedFunc(maps.Values(p.by), func(a, b Pause) int { return cmp.Compare(a.Platform, b.Platform) })
}

// Pause puts a pause in force from now on, instead of the one of the same
// platform. Attempts under way go on.
func (p *Pauses) Pause(ctx context.Context, one Pause) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	one.Time = p.o.Now()
	if err := p.o.Store.PutPause(ctx, one); err != nil {
		return fmt.Errorf("keep pause: %w", err)
	}
	p.mu.Lock()
	p.by[one.Platform] = one
	p.mu.Unlock()
	p.o.Logger.Info("queue paused", "platform", nameOf(one.Platform))
	return nil
}

// Resume ends the pause of a platform, or with "" that of all, and reports
// whether there was one.
func (p *Pauses) Resume(ctx context.Context, id platform.ID) (bool, error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.RLock()
	_, there := p.by[id]
	p.mu.RUnlock()
	if !there {
		return false, nil
	}
	if err := p.o.Store.DropPause(ctx, id); err != nil {
		return false, fmt.Errorf("forget pause: %w", err)
	}
	p.mu.Lock()
	delete(p.by, id)
	p.mu.Unlock()
	p.o.Logger.Info("queue resumed", "platform", nameOf(id))
	p.o.Wake()
	return true, nil
}

// nameOf is a pause's platform for the log.
func nameOf(id platform.ID) string { return cmp.Or(string(id), "all") }
