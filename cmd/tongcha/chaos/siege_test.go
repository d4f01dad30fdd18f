//go:build chaos

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// siege kills hubs while people order and platforms carry out, and holds what
// everybody knows in the end against the promises.
type siege struct {
	hubs   int
	kills  int // of all hubs together
	people int // at the same time, of each hub
	seed   uint64
	each   int           // kills at each event, of all hubs together
	settle time.Duration // for the orders to end after the last kill
	tell   time.Duration // between two lines of progress; 0: none
}

// run builds no hub: binary is one. It returns all figures added up.
func (s siege) run(t *testing.T, binary string) figures {
	t.Helper()
	began := time.Now()
	arenas, kills := make([]*arena, s.hubs), newKills()
	for i := range arenas {
		arenas[i] = newArena(t, binary, kills, s.seed, i)
	}
	stop := s.progress(t, arenas, began)
	var all sync.WaitGroup
	for _, a := range arenas {
		all.Go(func() { s.besiege(a) })
	}
	all.Wait()
	stop()
	var sum figures
	for _, a := range arenas {
		sum.add(check(a.ledger.read(t)))
	}
	t.Logf("seed %d: %v, %s", s.seed, time.Since(began).Round(time.Second), sum)
	for _, m := range slices.Sorted(maps.Keys(kills.hits)) {
		t.Logf("%5d kills, %s", kills.hits[m], m)
	}
	if sum.kills < s.kills || kills.fewest() < s.each {
		sum.breach("only %d kills, and %d at one of the events; want %d and %d", sum.kills, kills.fewest(), s.kills, s.each)
	}
	return sum
}

func (f *figures) add(g figures) {
	f.kills, f.people, f.taken, f.repeats = f.kills+g.kills, f.people+g.people, f.taken+g.taken, f.repeats+g.repeats
	f.effects, f.calls, f.seen = f.effects+g.effects, f.calls+g.calls, f.seen+g.seen
	f.cancelled, f.moved, f.cutShort = f.cancelled+g.cancelled, f.moved+g.moved, f.cutShort+g.cutShort
	f.breaches = append(f.breaches, g.breaches...)
}

// String is the last line of a siege.
func (f figures) String() string {
	return fmt.Sprintf("%d kills, %d orders of %d people acknowledged, %d effects, %d repeats answered with the same id, %d calls to platforms, %d states seen, %d orders cancelled by people, %d since the number changed hands (%d of them after an effect whose answer a kill cut off), %d breaches",
		f.kills, f.taken, f.people, f.effects, f.repeats, f.calls, f.seen, f.cancelled, f.moved, f.cutShort, len(f.breaches))
}

// progress prints how far all are, now and then.
func (s siege) progress(t *testing.T, arenas []*arena, began time.Time) (stop func()) {
	if s.tell == 0 {
		return func() {}
	}
	tick, done := time.NewTicker(s.tell), make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			people := int64(0)
			for _, a := range arenas {
				people += a.people.Load()
			}
			t.Logf("%4.0f s: %d of %d kills, %d people came", time.Since(began).Seconds(), arenas[0].kills.all(), s.kills, people)
		}
	}()
	return func() { tick.Stop(); close(done) }
}

// besiege kills one hub its share of times, then lets all orders end.
func (s siege) besiege(a *arena) {
	c := &crowd{a: a}
	c.come(s.people)
	for lives := 0; lives < 3*s.kills/s.hubs+100 && (a.victim.kills < s.kills/s.hubs || a.kills.fewest() < s.each); lives++ {
		run, err := a.victim.start(a.next())
		if err != nil {
			a.ledger.breach("the hub can't be started: %v", err)
			break
		}
		<-run.over
	}
	if _, err := a.victim.start(plan{calm: true}); err != nil {
		a.ledger.breach("the hub can't be started: %v", err)
	}
	c.settle(s.settle)
	a.cancel()
}

// crowd is the people of an arena: as many at a time as places, each followed by
// another one.
type crowd struct {
	a    *arena
	full chan struct{} // closed when nobody else may come
	gone sync.WaitGroup

	mu    sync.Mutex
	ended []*citizen // all of their orders have ended
}

func (c *crowd) come(places int) {
	c.full = make(chan struct{})
	for range places {
		c.gone.Go(func() {
			for !c.closed() {
				one := c.a.newCitizen()
				if !one.live() {
					c.a.pause(10*time.Millisecond, 50*time.Millisecond)
					continue
				}
				c.mu.Lock()
				c.ended = append(c.ended, one)
				c.mu.Unlock()
			}
		})
	}
	c.gone.Go(c.audit)
}

func (c *crowd) closed() bool {
	select {
	case <-c.full:
		return true
	case <-c.a.ctx.Done():
		return true
	default:
		return false
	}
}

// audit looks again and again at orders that have ended: that is for good.
func (c *crowd) audit() {
	for i := 0; !c.closed() && c.a.sleep(20*time.Millisecond); i++ {
		c.mu.Lock()
		var one *citizen
		if n := len(c.ended); n > 0 {
			one = c.ended[n-1-i%min(n, 50)] // the sessions of others may have ended
		}
		c.mu.Unlock()
		if one != nil {
			one.audit()
		}
	}
}

// settle lets everybody finish, then looks at everything once more.
func (c *crowd) settle(limit time.Duration) {
	close(c.full)
	done := make(chan struct{})
	go func() { c.gone.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		c.a.ledger.breach("orders are still open %v after the last kill", limit)
		c.a.cancel()
		<-done
		return
	}
	run, ok := c.a.victim.await(c.a.ctx, false)
	if !ok {
		return
	}
	for _, one := range c.ended {
		if _, ok := one.look(run); ok { // else the session has ended
			one.list(run)
		}
	}
	c.a.count()
	c.a.victim.stopNow(run)
}

// count writes down how many orders the hub itself counts.
func (a *arena) count() {
	var stats struct {
		Platforms []map[string]any `json:"platforms"`
	}
	out, err := a.operate("queue", "stats", "-o", "json", "--data", filepath.Join(a.dir, "data"))
	if err == nil {
		err = json.Unmarshal([]byte(out), &stats)
	}
	if err != nil {
		a.ledger.breach("queue stats: %v", err)
	}
	for _, p := range stats.Platforms {
		for _, state := range []string{"queued", "sending", "inReview", "completed", "refused", "abandoned", "cancelled"} {
			n, _ := p[state].(float64)
			a.ledger.add(record{What: recCounted, Platform: fmt.Sprint(p["platformId"]), State: strings.ToUpper(state), Count: int(n)})
		}
	}
}

// stopNow ends a run that nobody kills, and wants exit code 0 of it.
func (v *victim) stopNow(run hubRun) {
	v.mu.Lock()
	if v.process != nil {
		v.stopped = true
		_ = v.process.Signal(syscall.SIGTERM)
	}
	v.mu.Unlock()
	select {
	case <-run.over:
	case <-time.After(patience):
		v.a.ledger.breach("run %d still runs %v after SIGTERM", run.number, patience)
	}
}
