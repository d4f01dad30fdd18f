package lookup

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/watch"
)

// Options configures a Service.
type Options struct {
	Store     Store
	Joined    func() []platform.Platform // the platforms to ask now, ordered by id
	Catalogue func() []platform.Entry    // every catalogued platform, ordered by id
	MAC       phone.MAC
	Limits    Limits
	// Observe is told every answer, or its absence, of a lookup that runs; it
	// must not block. May be nil.
	Observe func(platform.ID, platform.Answer)
	// ObserveLate is told every answer of a platform that was silent before, and
	// nothing else; it must not block. May be nil.
	ObserveLate func(platform.ID, platform.Answer)
	Carrier     platform.Carrier // nil: holders are not checked before late questions
	Notifier    Notifier         // nil: nobody is told that late answers are in
	Logger      *slog.Logger
	Now         func() time.Time // the hub's clock; nil: time.Now
}

// Service runs lookups. It is safe for concurrent use.
type Service struct {
	o Options

	mu      sync.Mutex
	live    map[string]*run
	running atomic.Int64   // lookups whose answers are still coming in or being stored
	closing chan struct{}  // closed when no more lookups start and no more waits last
	ending  sync.WaitGroup // lookups whose last answer is being stored

	late    *late
	watches *watch.Set
}

// New returns a Service.
func New(o Options) *Service {
	if o.Observe == nil {
		o.Observe = func(platform.ID, platform.Answer) {}
	}
	if o.ObserveLate == nil {
		o.ObserveLate = func(platform.ID, platform.Answer) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o, live: make(map[string]*run), closing: make(chan struct{}), late: newLate(o.Now), watches: watch.NewSet()}
}

// local turns a time of the hub's clock into one of this process, which timers and
// calls count by.
func (s *Service) local(t time.Time) time.Time { return time.Now().Add(t.Sub(s.o.Now())) }

// Request starts a lookup.
type Request struct {
	Subject     phone.Subject
	Number      phone.Number
	NumberIndex phone.Index
	HolderSince time.Time
	SessionKey  [32]byte
	Platforms   []platform.ID // empty: all that have joined; no repeats
	RequestID   string        // "" for none
	Trace       string        // the W3C trace context of the request; "" for none
}

// Start records a lookup, asks the platforms and returns at once. A repeated
// request id returns the lookup it started.
//
// Errors: fault.PlatformUnknown, LookupRate, RequestIDReused, SessionInvalid,
// ShuttingDown.
func (s *Service) Start(ctx context.Context, r Request) (Lookup, error) {
	rows, targets, err := s.plan(r.Platforms)
	if err != nil {
		return Lookup{}, err
	}
	now := s.o.Now()
	limits := s.o.Limits
	l := Lookup{
		ID: seal.NewID(now), Subject: r.Subject, HolderSince: r.HolderSince, CreateTime: now,
		FinalBy: now.Add(limits.FinalAfter), Revision: 1, Rows: rows, Complete: len(targets) == 0,
	}
	if !l.Complete && limits.ReaskAfter > 0 {
		// A hub that crashes leaves it so: it is settled then and its platforms are
		// asked again.
		l.Number, l.WakeTime = r.Number, now.Add(limits.PlatformDeadline+limits.ReaskAfter)
	}
	id, err := s.o.Store.Create(ctx, l, s.admission(r, l))
	if err != nil {
		return Lookup{}, fmt.Errorf("create lookup: %w", err)
	}
	if id != l.ID {
		return s.Get(ctx, r.Subject, id)
	}
	if l.Complete {
		return l, nil
	}
	return s.launch(l, r, targets)
}

func (s *Service) admission(r Request, l Lookup) Admission {
	a := Admission{
		SessionKey: r.SessionKey, NumberIndex: r.NumberIndex, Now: l.CreateTime,
		ForgetTime: l.FinalBy.Add(s.o.Limits.KeepAfterFinal), Limits: s.o.Limits,
	}
	if r.RequestID != "" {
		a.RequestKey = s.o.MAC.Sum("request", r.Subject[:], []byte("CreateLookup"), []byte(r.RequestID))
		parts := make([][]byte, len(r.Platforms))
		for i, p := range r.Platforms {
			parts[i] = []byte(p)
		}
		a.BodyDigest = s.o.MAC.Sum("body", parts...)
	}
	return a
}

// target is a platform to ask and the row its answer goes into.
type target struct {
	row      int
	platform platform.Platform
}

// plan makes the rows and picks the platforms to ask. The catalogue and the
// roster are ordered alike, so one walk over both will do.
func (s *Service) plan(only []platform.ID) ([]Row, []target, error) {
	entries, joined := s.o.Catalogue(), s.o.Joined()
	wanted := make(map[platform.ID]bool, len(only))
	for _, id := range only {
		wanted[id] = true
	}
	rows := make([]Row, len(entries))
	targets := make([]target, 0, len(joined))
	next := newCursor(joined)
	for i := range entries {
		e, row := &entries[i], &rows[i]
		row.Platform, row.DisplayName, row.Category = e.ID, e.DisplayName, e.Category
		row.SelfServiceURL, row.Functions, row.State = e.SelfServiceURL, e.Functions, platform.NotJoined
		p, info := next.at(e.ID)
		switch {
		case p == nil:
		case len(only) > 0 && !wanted[e.ID]:
			row.State = platform.NotAsked
		default:
			row.State, row.Functions = platform.NotAsked, info.Functions
			if row.SelfServiceURL == "" {
				row.SelfServiceURL = info.SelfServiceURL
			}
			if info.AnswersLookups() {
				row.State = platform.Pending
				targets = append(targets, target{row: i, platform: p})
			}
		}
		delete(wanted, e.ID)
	}
	for i, id := range only {
		if wanted[id] {
			return nil, nil, fault.PlatformUnknown.On(fmt.Sprintf("platformIds[%d]", i))
		}
	}
	return rows, targets, nil
}

// cursor walks over joined platforms and takes the info of each once, which is a
// large copy.
type cursor struct {
	rest []platform.Platform
	info platform.Info // of the first of rest
}

func newCursor(joined []platform.Platform) *cursor {
	c := &cursor{rest: joined}
	c.read()
	return c
}

func (c *cursor) read() {
	if len(c.rest) > 0 {
		c.info = c.rest[0].Info()
	}
}

// at returns the platform of an id that is above all that were asked for before;
// nil where it has not joined. The info is good until the next call.
func (c *cursor) at(id platform.ID) (platform.Platform, *platform.Info) {
	for len(c.rest) > 0 && c.info.ID < id {
		c.rest = c.rest[1:]
		c.read()
	}
	if len(c.rest) == 0 || c.info.ID != id {
		return nil, nil
	}
	return c.rest[0], &c.info
}

// launch asks the platforms of a recorded lookup. A hub that is closing leaves
// the record as it is; it reads as settled from then on.
func (s *Service) launch(l Lookup, req Request, targets []target) (Lookup, error) {
	deadline := l.CreateTime.Add(s.o.Limits.PlatformDeadline)
	var reask time.Time
	if !l.Number.IsZero() {
		reask = s.nextReask(deadline, 0)
	}
	s.mu.Lock()
	if s.isClosing() {
		s.mu.Unlock()
		return Lookup{}, fault.ShuttingDown.New()
	}
	s.ending.Add(1)
	s.running.Add(1)
	r := newRun(l, reask, func(l Lookup) { go s.end(l) })
	s.live[l.ID] = r
	s.mu.Unlock()
	r.ask(req, targets, s.local(deadline), s.o.Observe)
	return r.snapshot(), nil
}

// end stores a lookup whose rows are all in, and only then shows it as complete:
// what a person was shown as complete is on disk. If it can't be stored it stays
// visible until the hub stops.
func (s *Service) end(l Lookup) {
	defer s.ending.Done()
	l.Complete = true
	l.Revision++
	l.WakeTime = l.FinalBy
	reask := l.earliestReask()
	if reask.IsZero() {
		l.Number, l.WakeTime = phone.Number{}, time.Time{}
	}
	err := s.o.Store.Merge(context.Background(), l)
	s.running.Add(-1) // before anybody sees that it has ended
	if err != nil {
		s.o.Logger.Error("lookup not stored", "error", err)
		s.publish(l)
		return
	}
	s.publish(l)
	s.mu.Lock()
	delete(s.live, l.ID)
	s.mu.Unlock()
	s.late.expect(reask)
}

func (s *Service) publish(l Lookup) {
	s.mu.Lock()
	r := s.live[l.ID]
	s.mu.Unlock()
	r.publish(l)
}

// Running is how many lookups are under way. It costs nothing.
func (s *Service) Running() int { return int(s.running.Load()) }

func (s *Service) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Drain starts no more lookups and lets whoever waits for one have it as it is.
// Calling it again does nothing.
func (s *Service) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosing() {
		close(s.closing)
	}
}

// Close drains and waits until the lookups under way are stored, which the
// platform deadline bounds. When ctx ends first they are left as they are on
// disk and read as settled.
func (s *Service) Close(ctx context.Context) {
	s.Drain()
	done := make(chan struct{})
	go func() { s.ending.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
