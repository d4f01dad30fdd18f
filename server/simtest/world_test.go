package simtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

// options make a world.
type options struct {
	seed      uint64
	days      int
	calm      int // of these, at the end: everybody is well, and what is open has time to end
	numbers   int
	platforms int
	busy      time.Duration // between two acts of the people of a number
	restarts  int           // at some moment
	fate      float64       // share of commits at which the hub crashes
	direct    bool          // platforms and carrier are in the process, not behind gRPC
}

// world is a hub and all that is around it, in a bubble.
type world struct {
	*testing.T
	o        options
	ledger   *ledger
	keys     *seal.Keys
	ca       *pki.Authority
	hubCreds pki.Credentials
	hubTLS   credentials.TransportCredentials
	net      *network
	carrier  *carrier
	peers    []*peer
	lines    []*line

	dir, file                string // of the store
	begin, heals, rests, end time.Time
	ctx                      context.Context
	stop                     context.CancelFunc
	all                      sync.WaitGroup
	ends                     []func()
	crashes                  chan string // a port asks for one

	mu        sync.Mutex
	hub       *run // nil while it is down
	suspended map[platform.ID]bool
}

func newWorld(t *testing.T, o options) *world {
	w := &world{T: t, o: o, dir: folder(t), begin: time.Now(), crashes: make(chan string, 1), suspended: make(map[platform.ID]bool)}
	w.end = w.begin.Add(time.Duration(o.days) * day)
	calm := time.Duration(o.calm) * day
	w.heals, w.rests = w.end.Add(-calm), w.end.Add(day-calm)
	w.ledger = newLedger(5 * day)
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.file = filepath.Join(w.dir, "hub.db")
	keyFile := filepath.Join(w.dir, "keys.json")
	w.must(seal.Create(keyFile))
	var err error
	w.keys, err = seal.Load(keyFile)
	w.must(err)
	w.populate()
	if !o.direct {
		w.must(pki.Create(w.dir, domain))
		w.ca, err = pki.Load(w.dir)
		w.must(err)
		w.hubCreds = w.credentials(pki.RoleHub, "main")
		config := pki.ServerConfig(w.hubCreds, domain)
		config.MinVersion = tls.VersionTLS13
		w.hubTLS = credentials.NewTLS(config)
		w.connect()
	}
	return w
}

// folder is one for the store: in memory where there is such a place, since no
// power fails here and syncs are what takes longest.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "simtest")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// populate draws platforms and numbers.
func (w *world) populate() {
	rnd := w.rand("world")
	w.carrier = w.newCarrier()
	kinds := characters()
	if w.o.direct {
		kinds = brisk()
	}
	for i, k := range rnd.Perm(len(kinds))[:w.o.platforms] {
		w.peers = append(w.peers, w.newPeer(fmt.Sprintf("p%d-%s", i, kinds[k].name), kinds[k]))
	}
	for i := range w.o.numbers {
		w.lines = append(w.lines, w.newLine(i))
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// rand is a source of its own for each part of the world, so that one that draws
// more often changes no other.
func (w *world) rand(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.o.seed, h.Sum64()))
}

// randNow is a source for what happens to one thing at one moment: it does not
// depend on what else happens then, and in which order.
func (w *world) randNow(name string) *rand.Rand {
	return w.rand(name + time.Now().Format(time.RFC3339Nano))
}

func (w *world) isWell() bool { return !time.Now().Before(w.heals) }

// later does something after d, if the world still goes on.
func (w *world) later(d time.Duration, do func()) {
	if w.ctx.Err() != nil {
		return
	}
	w.all.Go(func() {
		if nap(w.ctx, d) {
			do()
		}
	})
}

func (w *world) at(t time.Time, do func()) { w.later(time.Until(t), do) }

func (w *world) atEnd(do func()) { w.ends = append(w.ends, do) }

// live is the whole story.
func (w *world) live() {
	w.setHub(w.start())
	for _, l := range w.lines {
		w.all.Go(l.live)
	}
	w.all.Go(w.operate)
	w.at(w.heals, func() {
		for _, p := range w.peers {
			p.heal()
		}
	})
	w.drive()
	if r := w.setHub(nil); r != nil {
		r.stop()
	}
	w.stop()
	for _, end := range w.ends {
		end()
	}
	w.all.Wait()
}

// drive lets time pass, restarts the hub and looks at all orders every other day.
func (w *world) drive() {
	rnd := w.rand("driver")
	gap := float64(w.heals.Sub(w.begin)) / float64(max(w.o.restarts, 1))
	next := func() time.Time { return time.Now().Add(time.Duration(rnd.ExpFloat64() * gap)) }
	for at := next(); ; {
		timer := time.NewTimer(min(time.Until(at), time.Until(w.end), 2*day))
		why := ""
		select {
		case <-timer.C:
		case why = <-w.crashes:
		case <-w.ledger.halt:
		}
		timer.Stop()
		if w.ledger.broken() {
			return
		}
		over := !time.Now().Before(w.end)
		if why == "" {
			synctest.Wait()
			w.audit(over)
		}
		if over {
			return
		}
		if due := !time.Now().Before(at); why != "" || due && !w.isWell() {
			w.restart(rnd, why)
		}
		if !time.Now().Before(at) {
			at = next()
		}
	}
}

// restart ends the hub, by a crash where there is a reason for one, and starts it
// again after a while.
func (w *world) restart(rnd *rand.Rand, why string) {
	if why == "" && rnd.Float64() < 0.5 {
		why = "at some moment"
	}
	r := w.hub
	if why != "" {
		r.dead.Store(true)
		w.setHub(nil)
		synctest.Wait()
		w.ledger.stopped(true, "it crashed "+why)
		r.crash()
	} else {
		w.setHub(nil)
		r.stop()
		w.ledger.stopped(false, "asked to")
	}
	select { // a second crash that was asked for at the same moment
	case <-w.crashes:
	default:
	}
	down := time.Duration(rnd.ExpFloat64() * float64(10*time.Second))
	if rnd.Float64() < 0.2 {
		down = time.Duration(rnd.Float64() * float64(12*hour))
	}
	nap(w.ctx, down)
	w.setHub(w.start())
}

// fate decides whether the hub crashes here, and sees to it.
func (w *world) fate(r *run, where string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isWell() || w.randNow(where).Float64() > w.o.fate || !r.dead.CompareAndSwap(false, true) {
		return false
	}
	w.crashes <- where
	return true
}

func (w *world) setHub(r *run) (old *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, w.hub = w.hub, r
	w.ledger.paused(false)
	return old
}

func (w *world) runNumber() int {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return len(w.ledger.runs)
}

// call calls the hub, as far as it is there and lives to answer.
func (w *world) call(do func(context.Context, *run) error) error {
	w.mu.Lock()
	r := w.hub
	w.mu.Unlock()
	if r == nil {
		return errGone
	}
	err := do(r.ctx, r)
	if r.dead.Load() || r.ctx.Err() != nil && err != nil {
		return errGone
	}
	return err
}

func (w *world) entry(p *peer) platform.Entry {
	return platform.Entry{ID: p.id, DisplayName: p.name, Address: p.address(), Functions: platform.FunctionUnbind, Suspended: w.isSuspended(p.id)}
}

func (w *world) isSuspended(id platform.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.suspended[id]
}

// audit looks at all orders while nothing moves.
func (w *world) audit(atEnd bool) {
	ctx, now := context.Background(), time.Now()
	var all []unbind.Order
	for _, l := range w.lines {
		for _, p := range l.holders {
			for before := ""; ; {
				list, err := w.hub.service.List(ctx, p.subject, before, 20)
				w.must(err)
				all = append(all, list...)
				if len(list) < 20 {
					break
				}
				before = list[len(list)-1].ID
			}
		}
	}
	w.ledger.audit(all, atEnd)
	w.ledger.deadLetters(all, w.deadLetters())
	got, err := kept(ctx, w.hub.store, now)
	w.must(err)
	w.ledger.auditFigures(figures(all, now), got)
}
