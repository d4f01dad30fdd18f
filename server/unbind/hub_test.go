package unbind_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// hub is the unbinding part of a hub in a bubble: a real store, peers that are
// not real.
type hub struct {
	*testing.T
	store   *bolt.Store
	path    string
	keys    *seal.Keys
	service *unbind.Service
	options unbind.DispatchOptions
	now     *unbind.Dispatcher // the one that runs

	mu     sync.Mutex
	joined []platform.Platform
	stop   func()
}

// inHub runs a story with the platforms joined and the dispatcher running.
func inHub(t *testing.T, story func(*hub), platforms ...*peer) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := &hub{T: t, path: filepath.Join(dir, "hub.db")}
		keyFile := filepath.Join(dir, "keys.json")
		h.check(seal.Create(keyFile))
		var err error
		h.keys, err = seal.Load(keyFile)
		h.check(err)
		h.join(platforms...)
		h.options = unbind.DispatchOptions{Joined: h.Joined, Logger: slog.New(slog.DiscardHandler)}
		h.openStore()
		h.run()
		defer func() {
			h.stop()
			h.check(h.store.Close())
		}()
		story(h)
	})
}

func (h *hub) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *hub) openStore() {
	var err error
	h.store, err = bolt.Open(h.path, h.keys)
	h.check(err)
	h.newService(h.store)
}

func (h *hub) newService(queue unbind.Queue) {
	h.service = unbind.NewService(unbind.Options{
		Queue: queue, Orders: h.store, DeadLetters: h.store, MAC: h.keys, Logger: slog.New(slog.DiscardHandler),
		DueTime: func(t time.Time) time.Time { return t.Add(120 * time.Hour) },
	})
}

// run starts a dispatcher; h.stop ends it.
func (h *hub) run() {
	o := h.options
	o.Service = h.service
	d := unbind.NewDispatcher(o)
	h.now = d
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("the dispatcher ended with %v", err)
		}
	})
}

// restart stops everything and starts it again.
func (h *hub) restart() {
	h.stop()
	h.check(h.store.Close())
	h.openStore()
	h.run()
}

func (h *hub) join(platforms ...*peer) {
	h.mu.Lock()
	h.joined = nil
	for _, p := range platforms {
		h.joined = append(h.joined, p)
	}
	h.mu.Unlock()
	if h.service != nil {
		h.service.Wake()
	}
}

func (h *hub) Joined() []platform.Platform {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.joined
}

var holderSince = time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC)

// ask is a request of a person, known by a name, for one order at each platform.
func (h *hub) ask(who string, at ...platform.ID) unbind.Request {
	h.Helper()
	n, err := phone.ParseNumber("13800130001")
	h.check(err)
	r := unbind.Request{
		Subject: h.keys.Sum("subject", []byte(who)), Number: n, NumberIndex: phone.IndexOf(h.keys, n), HolderSince: holderSince,
		LookupID: "lookup", RequestID: seal.NewID(time.Now()),
	}
	for _, p := range at {
		r.Asked = append(r.Asked, unbind.Asked{
			Joined:   true,
			Platform: p, Answered: true, Unbindable: true, HolderSince: holderSince,
			Accounts: []platform.Account{{Ref: "old", Period: platform.BeforeHolder}, {Ref: "mine", Period: platform.SinceHolder}},
		})
	}
	return r
}

// place makes one order and returns a look at it.
func (h *hub) place(who string, at platform.ID) func() unbind.Order {
	h.Helper()
	r := h.ask(who, at)
	placed, err := h.service.Request(h.Context(), r)
	h.check(err)
	if placed[0].Reason != "" {
		h.Fatalf("no order: %s", placed[0].Reason)
	}
	return func() unbind.Order {
		h.Helper()
		synctest.Wait()
		o, err := h.store.Order(h.Context(), r.Subject, placed[0].Order.ID)
		h.check(err)
		return o
	}
}

// placeMany makes orders of as many persons at once, named by what and a number.
func (h *hub) placeMany(what string, n int, at platform.ID) []func() unbind.Order {
	h.Helper()
	looks := make([]func() unbind.Order, n)
	var wg sync.WaitGroup
	for i := range n {
		r := h.ask(fmt.Sprint(what, i), at)
		wg.Go(func() {
			placed, err := h.service.Request(h.Context(), r)
			if err != nil || placed[0].Reason != "" {
				h.Errorf("no order: %v", err)
				return
			}
			looks[i] = func() unbind.Order {
				o, err := h.store.Order(h.Context(), r.Subject, placed[0].Order.ID)
				h.check(err)
				return o
			}
		})
	}
	wg.Wait()
	return looks
}

func (h *hub) state(o unbind.Order, want unbind.State) {
	h.Helper()
	if o.State != want {
		h.Fatalf("state %s, want %s; history %+v", o.State, want, o.History)
	}
}

// call is one call to a peer.
type call struct {
	platform.UnbindOrder
	at time.Time
}

// peer is a platform. unbind and status see how many calls of theirs came before.
type peer struct {
	id     platform.ID
	unbind func(ctx context.Context, n int) (platform.Report, error)
	status func(ctx context.Context, n int) (platform.Report, error)

	mu      sync.Mutex
	health  platform.Health
	sent    []call
	polled  []call
	now     int
	highest int // calls at once
}

func (p *peer) Info() platform.Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return platform.Info{Entry: platform.Entry{ID: p.id, Address: "peer:1", Functions: platform.FunctionUnbind}, MaxBatch: 1, Health: p.health}
}

// is says how its connector answers probes.
func (p *peer) is(health platform.Health) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health = health
}
func (p *peer) Ask(*platform.Call)      {}
func (p *peer) Withdraw(*platform.Call) {}

func (p *peer) Unbind(ctx context.Context, o platform.UnbindOrder) (platform.Report, error) {
	n := p.begin(&p.sent, o)
	defer p.end()
	return p.unbind(ctx, n)
}

func (p *peer) UnbindStatus(ctx context.Context, id string) (platform.Report, error) {
	n := p.begin(&p.polled, platform.UnbindOrder{OrderID: id})
	defer p.end()
	return p.status(ctx, n)
}

func (p *peer) begin(list *[]call, o platform.UnbindOrder) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, call{UnbindOrder: o, at: time.Now()})
	p.now++
	p.highest = max(p.highest, p.now)
	return len(*list) - 1
}

func (p *peer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now--
}

// calls waits until nothing moves and returns what came in.
func (p *peer) calls() (sent, polled []call) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.polled
}

func says(stage platform.Stage) func(context.Context, int) (platform.Report, error) {
	return func(context.Context, int) (platform.Report, error) { return report(stage, time.Now()), nil }
}

// failing answers the first n calls with the error and then as then does.
func failing(n int, e platform.CallError, then func(context.Context, int) (platform.Report, error)) func(context.Context, int) (platform.Report, error) {
	return func(ctx context.Context, i int) (platform.Report, error) {
		if i < n {
			return platform.Report{}, &e
		}
		return then(ctx, i)
	}
}

// hangs never answers.
func hangs(ctx context.Context, _ int) (platform.Report, error) {
	<-ctx.Done()
	return platform.Report{}, &platform.CallError{Code: "DEADLINE_EXCEEDED"}
}

// carrier says what its fields say.
type carrier struct {
	mu     sync.Mutex
	change platform.HolderChange
	err    error
	asked  []time.Time // the since of each question
}

func (c *carrier) Attest(context.Context, phone.Number, phone.IDSuffix) (platform.Attestation, time.Time, error) {
	return platform.AttestUnknown, time.Time{}, nil
}

func (c *carrier) CheckHolder(_ context.Context, _ phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, since)
	return c.change, time.Time{}, c.err
}

func (c *carrier) say(change platform.HolderChange, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change, c.err = change, err
}

// withCarrier begins again with a carrier.
func (h *hub) withCarrier(c *carrier) {
	h.stop()
	h.options.Carrier = c
	h.run()
}
