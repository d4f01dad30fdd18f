package rpc_test

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/verify"
)

func (w *world) options(log *slog.Logger, attester platform.Carrier) rpc.Options {
	return rpc.Options{
		Verify: verify.New(verify.Options{
			Store: w.store, Sender: w.outbox, Carrier: attester, MAC: w.keys, Limits: w.verify, Floor: 150 * time.Millisecond, Logger: log,
		}),
		Lookup: w.lookups, Unbind: w.unbinds, Catalogue: w, Carrier: attester,
		IsMember:     func(id string) bool { return w.isMember(id) },
		Coverage:     func(ctx context.Context, q coverage.Query) (coverage.Report, error) { return w.coverage(ctx, q) },
		OpenCoverage: w.openCoverage, ChecksPerSecond: w.checksPerSecond, MaxLookups: w.maxLookups, Span: w.span, Logger: log,
		Receipts: w.receipts, Issuer: hub.String(),
		Observe: func(method string, code codes.Code, _ time.Duration) {
			if w.observed != nil {
				w.observed(method, code.String())
			}
		},
	}
}

// outbox keeps the codes that were sent.
type outbox struct {
	mu    sync.Mutex
	codes []string
	to    []string
	err   error
}

func (o *outbox) SendCode(_ context.Context, to phone.Number, code verify.Code, _ time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.codes, o.to = append(o.codes, code.Reveal()), append(o.to, to.E164())
	return nil
}

func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *outbox) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.codes) == 0 {
		return ""
	}
	return o.codes[len(o.codes)-1]
}

func (o *outbox) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.codes)
}

// holderSince is when the right person got the number, by the carrier.
var holderSince = time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC)

// carrier knows one suffix for every number.
type carrier struct {
	mu     sync.Mutex
	suffix string
	since  time.Time
	change platform.HolderChange
	err    error
	delay  time.Duration // of an attestation
}

func newCarrier() *carrier {
	return &carrier{suffix: suffix, since: holderSince, change: platform.ChangeNone}
}

// say changes what the carrier says.
func (c *carrier) say(change func(*carrier)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *carrier) Attest(_ context.Context, _ phone.Number, s phone.IDSuffix) (platform.Attestation, time.Time, error) {
	c.mu.Lock()
	delay := c.delay
	c.mu.Unlock()
	time.Sleep(delay)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, time.Time{}, c.err
	case c.suffix == "":
		return platform.AttestUnknown, time.Time{}, nil
	case s.Reveal() != c.suffix:
		return platform.AttestMismatch, time.Time{}, nil
	}
	return platform.AttestMatch, c.since, nil
}

func (c *carrier) CheckHolder(context.Context, phone.Number, time.Time) (platform.HolderChange, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change, holderSince, c.err
}

// peer is a joined platform. It answers at once, or holds its questions.
type peer struct {
	id        platform.ID
	functions platform.Functions

	mu        sync.Mutex
	answer    platform.Answer
	holding   bool
	held      []*platform.Call
	suspended bool
}

// newPeer has one account of before the holder and one since.
func newPeer(id platform.ID) *peer {
	return &peer{id: id, functions: platform.FunctionLookup | platform.FunctionUnbind, answer: platform.Answer{
		State: platform.Bound, AnswerTime: time.Now(), Accounts: []platform.Account{
			{Ref: "old account", Product: "商城", Period: platform.BeforeHolder},
			{Ref: "new account", Product: "商城", Period: platform.SinceHolder},
		},
	}}
}

func (p *peer) Info() platform.Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return platform.Info{
		Entry:      platform.Entry{ID: p.id, DisplayName: "平台" + string(p.id), Category: "网上购物", Address: "peer:1", Functions: p.functions, Suspended: p.suspended},
		UnbindMode: platform.ModeSync, MaxBatch: 1, Health: platform.HealthServing,
	}
}

func (p *peer) Ask(c *platform.Call) {
	p.mu.Lock()
	holding, answer := p.holding, p.answer
	if holding {
		p.held = append(p.held, c)
	}
	p.mu.Unlock()
	if !holding {
		c.Finish(answer)
	}
}

func (p *peer) Withdraw(c *platform.Call) { c.Finish(platform.Answer{State: platform.Silent}) }

// set changes the peer.
func (p *peer) set(change func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// release answers what was held.
func (p *peer) release() {
	p.mu.Lock()
	held, answer := p.held, p.answer
	p.held = nil
	p.mu.Unlock()
	for _, c := range held {
		c.Finish(answer)
	}
}

func (p *peer) Unbind(context.Context, platform.UnbindOrder) (platform.Report, error) {
	return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
}

func (p *peer) UnbindStatus(context.Context, string) (platform.Report, error) {
	return platform.Report{}, &platform.CallError{Code: "UNAVAILABLE"}
}
