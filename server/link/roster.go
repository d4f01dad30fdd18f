// Package link reaches the joined platforms and the carriers over gRPC and keeps
// the roster of them.
package link

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// Options says how a roster reaches its platforms. Only Dial is required.
type Options struct {
	Dial
	Logger *slog.Logger // nil discards
	// ProbeEvery is the pause between two probes of a platform; 0 means 20 s.
	ProbeEvery time.Duration
	// MaxInFlight is how many batches a platform that offers no stream has open at
	// once; 0 means 16. Where a platform takes less than 4 subjects in a batch
	// there are more, so that about 64 subjects are in flight.
	MaxInFlight int
	// MaxQueued is how many questions wait for one platform at most; what comes
	// on top is silent at once. 0 means 4096.
	MaxQueued int
	// OnDescribe is told what a platform offers: at its first description and
	// whenever that changes. It runs in the platform's probing goroutine and must
	// not call Leave, Close, or Update with another address.
	OnDescribe func(platform.ID, platform.Functions)
	// OnServing is told that a platform answers probes, at its first answer and
	// whenever it is back, in the same goroutine. It must not block.
	OnServing func(platform.ID)
	// Span begins the span of one question ("lookup") or attempt ("unbind") and
	// returns its own W3C trace context, for the platform, and what ends it. nil
	// traces nothing.
	Span func(traceparent string, id platform.ID, kind string) (child string, end func(outcome string))
}

func (o Options) withDefaults() *Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ProbeEvery <= 0 {
		o.ProbeEvery = 20 * time.Second
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 16
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = 4096
	}
	return &o
}

// Roster holds the joined platforms. All methods are safe for concurrent use.
type Roster struct {
	opts *Options

	mu       sync.Mutex
	remotes  map[platform.ID]*remote
	closed   bool
	snapshot atomic.Pointer[[]platform.Platform]
}

// NewRoster makes an empty roster.
func NewRoster(opts Options) *Roster {
	r := &Roster{opts: opts.withDefaults(), remotes: make(map[platform.ID]*remote)}
	r.publish()
	return r
}

// Join adds a platform, suspended or not, and starts to probe it. It does not
// wait for the connection: a platform out of reach joins too and is asked as
// soon as it answers.
//
// Errors: fault.PlatformIDInvalid, AddressInvalid, PlatformExists, ShuttingDown.
func (r *Roster) Join(e platform.Entry) error {
	if err := checkEntry(e); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.remotes[e.ID] != nil {
		return fault.PlatformExists.On("platformId")
	}
	return r.add(e)
}

// add is the rest of joining; the mutex is held.
func (r *Roster) add(e platform.Entry) error {
	if r.closed {
		return fault.ShuttingDown.New()
	}
	one, err := newRemote(r.opts, e)
	if err != nil {
		return fault.AddressInvalid.Wrap(err)
	}
	r.remotes[e.ID] = one
	r.publish()
	return nil
}

// Update takes over what an operator changed of a joined platform: names,
// category, suspension. With another address the platform is reached anew, and
// what it was being asked ends as silent.
//
// Errors: fault.PlatformIDInvalid, AddressInvalid, PlatformUnknown, ShuttingDown.
func (r *Roster) Update(e platform.Entry) error {
	if err := checkEntry(e); err != nil {
		return err
	}
	r.mu.Lock()
	old := r.remotes[e.ID]
	if old == nil {
		r.mu.Unlock()
		return fault.PlatformUnknown.On("platformId")
	}
	if old.Info().Address == e.Address {
		old.setEntry(e)
		r.publish()
		r.mu.Unlock()
		return nil
	}
	err := r.add(e)
	r.mu.Unlock()
	if err == nil {
		old.close()
	}
	return err
}

// Leave removes a platform; one that hasn't joined is no error. What it was
// being asked ends as silent before Leave returns.
func (r *Roster) Leave(id platform.ID) {
	r.mu.Lock()
	old := r.remotes[id]
	delete(r.remotes, id)
	r.publish()
	r.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// Platforms is the snapshot of the platforms to ask: joined, not suspended, by
// id. It costs nothing, is shared, and must not be changed.
func (r *Roster) Platforms() []platform.Platform { return *r.snapshot.Load() }

// Get finds a joined platform, also a suspended one.
func (r *Roster) Get(id platform.ID) (platform.Platform, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, ok := r.remotes[id]
	if !ok {
		return nil, false // not a nil *remote in an interface
	}
	return one, true
}

// Close lets every platform leave and returns when no goroutine of the roster is
// left. Later Joins fail, later questions are silent at once.
func (r *Roster) Close() {
	r.mu.Lock()
	left := r.remotes
	r.remotes = make(map[platform.ID]*remote)
	r.closed = true
	r.publish()
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, one := range left {
		wg.Go(one.close)
	}
	wg.Wait()
}

// publish makes the next snapshot; the mutex is held, but by the constructor.
func (r *Roster) publish() {
	list := make([]platform.Platform, 0, len(r.remotes))
	for _, one := range r.remotes {
		if !one.Info().Suspended {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b platform.Platform) int {
		return strings.Compare(string(a.Info().ID), string(b.Info().ID))
	})
	r.snapshot.Store(&list)
}

func checkEntry(e platform.Entry) error {
	if _, err := platform.ParseID(string(e.ID)); err != nil {
		return err
	}
	return checkAddress(e.Address)
}
