package simtest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/rpc"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// run is the hub from one start to its stop or crash: the parts of server.Hub that
// carry orders.
type run struct {
	w        *world
	number   int
	store    *bolt.Store
	service  *unbind.Service
	dispatch *unbind.Dispatcher
	roster   *link.Roster
	carrier  *link.Carrier
	stopRPC  func()

	ctx     context.Context // of everything that goes on in it
	cancel  context.CancelFunc
	workers sync.WaitGroup
	dead    atomic.Bool // it crashed: from now on it reaches nobody and writes nothing
}

// start opens the store at the world's file and runs a hub on it.
func (w *world) start() *run {
	r := &run{w: w, number: w.ledger.ran()}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	r.store, err = bolt.Open(w.file, w.keys)
	w.must(err)
	log := slog.New(slog.DiscardHandler)
	r.service = unbind.NewService(unbind.Options{
		Queue: &port{Queue: r.store, r: r}, Orders: &wishes{Orders: r.store, r: r}, MAC: w.keys, Logger: log, DailyLimit: dailyLimit,
		DueTime: func(t time.Time) time.Time { return t.Add(5 * day) },
	})
	r.join(log)
	r.dispatch = unbind.NewDispatcher(unbind.DispatchOptions{
		Service: r.service, Joined: r.joined, Carrier: r.asks(), MaxAge: w.ledger.maxAge, Logger: log,
		Random: func() float64 { return w.randNow("retry").Float64() },
	})
	r.workers.Go(func() {
		if err := r.dispatch.Run(r.ctx); err != nil && !r.dead.Load() {
			w.Errorf("the dispatcher ended: %v", err)
		}
	})
	r.workers.Go(r.sweep)
	return r
}

const dailyLimit = 20

// join reaches the platforms and the carrier, and lets platforms report.
func (r *run) join(log *slog.Logger) {
	r.stopRPC = func() {}
	if r.w.o.direct {
		return
	}
	dial := link.Dial{Credentials: r.w.hubCreds, TrustDomain: domain, Dialer: r.w.net.dial}
	r.roster = link.NewRoster(link.Options{Dial: dial, ProbeEvery: 3 * hour, OnDescribe: func(platform.ID, platform.Functions) { r.service.Wake() }})
	for _, p := range r.w.peers {
		r.w.must(r.roster.Join(r.w.entry(p)))
	}
	var err error
	r.carrier, err = link.DialCarrier(dial, "unicom", carrierAt)
	r.w.must(err)
	s := rpc.New(rpc.Options{Unbind: r.service, IsMember: func(string) bool { return true }, Logger: log})
	r.stopRPC = r.w.net.serve(hubAt, s.Outer(grpc.Creds(r.w.hubTLS)))
}

func (r *run) asks() platform.Carrier {
	if r.w.o.direct {
		return inProcess{r.w.carrier}
	}
	return r.carrier
}

func (r *run) joined() []platform.Platform {
	var out []platform.Platform
	if r.w.o.direct {
		for _, p := range r.w.peers {
			if !r.w.isSuspended(p.id) {
				out = append(out, alive{local{p}, r})
			}
		}
		return out
	}
	for _, p := range r.roster.Platforms() {
		out = append(out, alive{p, r})
	}
	return out
}

// sweep is housekeeping, at a slower pace than a hub's.
func (r *run) sweep() {
	for nap(r.ctx, 6*hour) {
		for more := true; more && !r.dead.Load(); {
			var err error
			if more, err = r.store.Sweep(r.ctx, time.Now(), 500); err != nil && r.ctx.Err() == nil {
				r.w.Errorf("sweep: %v", err)
				return
			}
		}
	}
}

// stop is a clean stop.
func (r *run) stop() {
	r.cancel()
	r.workers.Wait()
	r.leave()
}

// leave ends what stop and crash leave behind.
func (r *run) leave() {
	r.stopRPC()
	if r.roster != nil {
		r.roster.Close()
		_ = r.carrier.Close()
	}
	r.w.must(r.store.Close())
}

// crash is the hub's sudden end: what it has committed is copied away, and what it
// still does reaches neither that copy nor anybody else. It is called when
// everybody waits, so that no commit is half done.
func (r *run) crash() {
	committed, err := os.ReadFile(r.w.file)
	r.w.must(err)
	r.w.must(os.Remove(r.w.file)) // the old run keeps it open
	r.w.file = filepath.Join(r.w.dir, fmt.Sprintf("hub-%d.db", r.number+1))
	r.w.must(os.WriteFile(r.w.file, committed, 0o600))
	r.cancel()
	r.leave()
	r.workers.Wait()
}
