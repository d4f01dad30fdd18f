// Package lookup asks every joined platform which accounts are bound to a
// number and keeps what they answered.
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
)

// Lookup is a question to the platforms and what they answered: one row for
// every catalogued platform, ordered by id.
type Lookup struct {
	ID          string
	Subject     phone.Subject
	HolderSince time.Time // zero where not attested
	CreateTime  time.Time
	FinalBy     time.Time
	Complete    bool
	Revision    int // grows with every change, from 1
	Rows        []Row
}

// Row is what is known about one platform.
type Row struct {
	Platform       platform.ID
	DisplayName    string
	Category       string
	Functions      platform.Functions
	SelfServiceURL string
	State          platform.State
	Accounts       []platform.Account
	AnswerTime     time.Time
}

// Counts says how many platforms were asked, and how many of them answered or
// stayed silent.
func (l Lookup) Counts() (asked, answered, silent int) {
	for _, r := range l.Rows {
		switch {
		case r.State.Answered():
			asked, answered = asked+1, answered+1
		case r.State == platform.Silent:
			asked, silent = asked+1, silent+1
		case r.State == platform.Pending:
			asked++
		}
	}
	return asked, answered, silent
}

// settled is the lookup as a hub shows it that no longer runs it: what was
// pending when that hub stopped is silent. The revision is above every one that
// was shown before.
func (l Lookup) settled() Lookup {
	if l.Complete {
		return l
	}
	rows := make([]Row, len(l.Rows))
	for i, r := range l.Rows {
		if r.State == platform.Pending {
			r.State = platform.Silent
		}
		rows[i] = r
	}
	l.Rows, l.Complete, l.Revision = rows, true, l.Revision+len(rows)+1
	return l
}

// Limits bounds lookups. The zero value of a count means no limit.
type Limits struct {
	PlatformDeadline time.Duration // a platform's answer counts until then
	FinalAfter       time.Duration // the lookup does not change after that
	KeepAfterFinal   time.Duration // and is forgotten after that
	PerSession       int
	PerNumberDay     int
}

// DefaultLimits are those of production.
func DefaultLimits() Limits {
	return Limits{
		PlatformDeadline: 2500 * time.Millisecond, FinalAfter: 24 * time.Hour, KeepAfterFinal: 24 * time.Hour,
		PerSession: 10, PerNumberDay: 30,
	}
}

// Admission is what Create checks and counts in the transaction that records
// the lookup.
type Admission struct {
	SessionKey  [32]byte
	NumberIndex phone.Index
	RequestKey  [32]byte // zero: the caller gave no request id
	BodyDigest  [32]byte
	Now         time.Time
	ForgetTime  time.Time // when the lookup is purged
	Limits      Limits
}

// Store keeps lookups. Every method is one transaction and durable when it
// returns.
type Store interface {
	// Create records a new lookup and counts it. A repeated request returns the
	// id of the lookup it made and counts nothing.
	// Errors: fault.LookupRate, fault.RequestIDReused, fault.SessionInvalid.
	Create(context.Context, Lookup, Admission) (id string, err error)
	// Merge replaces what is known of a lookup. A lookup that is gone stays gone.
	Merge(context.Context, Lookup) error
	// Get returns the subject's lookup. Errors: fault.LookupNotFound.
	Get(ctx context.Context, s phone.Subject, id string) (Lookup, error)
}

// Options configures a Service.
type Options struct {
	Store     Store
	Joined    func() []platform.Platform // the platforms to ask now
	Catalogue func() []platform.Entry    // every catalogued platform, ordered by id
	MAC       phone.MAC
	Limits    Limits
	// Observe is told every answer; it must not block. May be nil.
	Observe func(platform.ID, platform.Answer)
	Logger  *slog.Logger
}

// Service runs lookups. It is safe for concurrent use.
type Service struct {
	o Options

	mu      sync.Mutex
	live    map[string]*run
	running atomic.Int64   // lookups whose answers are still coming in or being stored
	closing chan struct{}  // closed when no more lookups start and no more waits last
	ending  sync.WaitGroup // lookups whose last answer is being stored
}

// New returns a Service.
func New(o Options) *Service {
	if o.Observe == nil {
		o.Observe = func(platform.ID, platform.Answer) {}
	}
	return &Service{o: o, live: make(map[string]*run), closing: make(chan struct{})}
}

// Request starts a lookup.
type Request struct {
	Subject     phone.Subject
	Number      phone.Number
	NumberIndex phone.Index
	HolderSince time.Time
	SessionKey  [32]byte
	Platforms   []platform.ID // empty: all that have joined; no repeats
	RequestID   string        // "" for none
	Trace       string        // W3C trace context of the request; "" where nothing is traced
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
	now := time.Now()
	limits := s.o.Limits
	l := Lookup{
		ID: seal.NewID(now), Subject: r.Subject, HolderSince: r.HolderSince, CreateTime: now,
		FinalBy: now.Add(limits.FinalAfter), Revision: 1, Rows: rows, Complete: len(targets) == 0,
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

// plan makes the rows and picks the platforms to ask, by row.
func (s *Service) plan(only []platform.ID) ([]Row, map[int]platform.Platform, error) {
	entries := s.o.Catalogue()
	joined := make(map[platform.ID]platform.Platform)
	for _, p := range s.o.Joined() {
		joined[p.Info().ID] = p
	}
	wanted := make(map[platform.ID]bool, len(only))
	for _, id := range only {
		wanted[id] = true
	}
	rows := make([]Row, len(entries))
	targets := make(map[int]platform.Platform, len(joined))
	for i, e := range entries {
		rows[i] = Row{Platform: e.ID, DisplayName: e.DisplayName, Category: e.Category, SelfServiceURL: e.SelfServiceURL, Functions: e.Functions, State: platform.NotJoined}
		p, isJoined := joined[e.ID]
		switch {
		case !isJoined:
		case len(only) > 0 && !wanted[e.ID]:
			rows[i].State = platform.NotAsked
		default:
			info := p.Info()
			rows[i].State, rows[i].Functions = platform.NotAsked, info.Functions
			if rows[i].SelfServiceURL == "" {
				rows[i].SelfServiceURL = info.SelfServiceURL
			}
			if info.AnswersLookups() {
				rows[i].State, targets[i] = platform.Pending, p
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

// launch asks the platforms of a recorded lookup. A hub that is closing leaves
// the record as it is; it reads as settled from then on.
func (s *Service) launch(l Lookup, req Request, targets map[int]platform.Platform) (Lookup, error) {
	s.mu.Lock()
	if s.isClosing() {
		s.mu.Unlock()
		return Lookup{}, fault.ShuttingDown.New()
	}
	s.ending.Add(1)
	s.running.Add(1)
	r := newRun(l, func(l Lookup) { go s.end(l) })
	s.live[l.ID] = r
	s.mu.Unlock()
	r.ask(req, targets, l.CreateTime.Add(s.o.Limits.PlatformDeadline), s.o.Observe)
	return r.snapshot(), nil
}

// end stores a lookup whose rows are all in, and only then shows it as complete:
// what a person was shown as complete is on disk. If it can't be stored it stays
// visible until the hub stops.
func (s *Service) end(l Lookup) {
	defer s.ending.Done()
	l.Complete = true
	l.Revision++
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
}

func (s *Service) publish(l Lookup) {
	s.mu.Lock()
	r := s.live[l.ID]
	s.mu.Unlock()
	r.publish(l)
}

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
