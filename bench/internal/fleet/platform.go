package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// platform is one platform behind one address. A connection goes to the server
// of the mode that is in force when it is accepted.
type platform struct {
	id       string
	door     net.Listener
	sound    *queue // of the SDK's server
	flooding *queue // of the flooding server
	flood    *flood
	now      atomic.Pointer[Behaviour]
	served   atomic.Int64
	sent     atomic.Int64 // bytes

	mu    sync.Mutex // guards what follows
	dice  *rand.Rand
	conns map[*tracked]bool
}

// concurrency is more than a process can have under way: the platforms must not
// be what is measured.
const concurrency = 1 << 16

func newPlatform(o opening, paper paper) (*platform, error) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &platform{
		id: paper.ID, door: door, sound: newQueue(door.Addr()), flooding: newQueue(door.Addr()),
		dice: rand.New(rand.NewPCG(paper.Seed, 1)), conns: make(map[*tracked]bool),
	}
	p.now.Store(&Behaviour{})
	server, err := sdk.New(sdk.Config{
		PlatformID: paper.ID, Listener: p.sound, Concurrency: concurrency,
		Credentials: sdk.Credentials{CertPEM: paper.CertPEM, KeyPEM: paper.KeyPEM, CAPEM: o.CAPEM},
		Logger:      slog.New(slog.DiscardHandler),
	}, p)
	if err != nil {
		return nil, err
	}
	flood, err := newFlood(o, paper)
	if err != nil {
		return nil, err
	}
	p.flood = flood
	for _, run := range []func() error{func() error { return server.Run(context.Background()) }, func() error { return flood.server.Serve(p.flooding) }, p.accept} {
		go func() {
			fmt.Fprintln(os.Stderr, "platforms:", paper.ID, "ended:", run())
			os.Exit(1)
		}()
	}
	return p, nil
}

func (p *platform) address() string { return p.door.Addr().String() }

// set changes the behaviour.
func (p *platform) set(b Behaviour) error {
	size, ok := map[Mode]int{Healthy: 0, Silent: 0, Mute: 0, Drip: 0, DripLater: 0, Flood: 200 << 10, FloodMore: 64 << 20, Frames: 0}[b.Mode]
	if !ok {
		return fmt.Errorf("no such mode: %q", b.Mode)
	}
	if err := p.flood.fill(size); err != nil {
		return err
	}
	if old := p.now.Swap(&b); old.Mode == b.Mode {
		return nil
	}
	p.mu.Lock()
	open := p.conns
	p.conns = make(map[*tracked]bool)
	p.mu.Unlock()
	for c := range open {
		_ = c.Close() // the hub connects anew
	}
	return nil
}

// accept hands connections to the servers. They come from one hub, which paces
// them.
func (p *platform) accept() error {
	for {
		raw, err := p.door.Accept()
		if err != nil {
			return err
		}
		c := &tracked{Conn: raw, p: p, closed: make(chan struct{})}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		switch p.now.Load().Mode {
		case Mute:
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		case Drip:
			p.sound.conns <- &dripping{tracked: c}
		case DripLater:
			p.sound.conns <- &dripping{tracked: c, free: 8 << 10}
		case Frames:
			go pourFrames(c, p.flood.tls)
		case Flood, FloodMore:
			p.flooding.conns <- c
		default:
			p.sound.conns <- c
		}
	}
}

// Lookup answers after the delay in force. Who straggles is drawn anew for every
// question, so that asking again helps.
func (p *platform) Lookup(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
	p.served.Add(1)
	b := p.now.Load()
	if b.Mode == Silent {
		<-ctx.Done()
		return sdk.Answer{}, ctx.Err()
	}
	if wait := p.delay(b); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return sdk.Answer{}, ctx.Err()
		}
	}
	return sdk.Found(sdk.Account{Ref: "account-1", Product: "商城", BoundAt: time.Unix(1_600_000_000, 0)}), nil
}

func (p *platform) delay(b *Behaviour) time.Duration {
	if b.Share <= 0 {
		return b.Delay
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dice.Float64() < b.Share {
		return b.Straggler
	}
	return b.Delay
}

// Unbind ends an order after the delay in force.
func (p *platform) Unbind(ctx context.Context, _ sdk.Order) (sdk.Outcome, error) {
	b := p.now.Load()
	if b.Mode == Silent {
		<-ctx.Done()
		return sdk.Outcome{}, ctx.Err()
	}
	timer := time.NewTimer(p.delay(b))
	defer timer.Stop()
	select {
	case <-timer.C:
		return sdk.Completed(), nil
	case <-ctx.Done():
		return sdk.Outcome{}, ctx.Err()
	}
}
