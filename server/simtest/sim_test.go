package simtest

import (
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Int("sim.seeds", 10, "how many worlds TestSimulation lives through")
	from  = flag.Uint64("sim.from", 1, "the seed of the first of them")
	days  = flag.Int("sim.days", 24, "how many days each of them lasts, 12 to 170")
)

// TestSimulation lives through worlds of months. A world that breaks a rule prints
// its seed, the rule, the story of the order, and the command that lives through
// it again.
func TestSimulation(t *testing.T) {
	if !fenced {
		t.Skip("the fence is broken on purpose: see TestBrokenFence")
	}
	var sum totals
	began := time.Now()
	for i := range *seeds {
		t.Run(fmt.Sprintf("seed=%d", *from+uint64(i)), func(t *testing.T) {
			o := usual(*from + uint64(i))
			g := simulate(t, o)
			sum.add(g, o.days)
			if len(g.breaches) > 0 {
				t.Errorf("seed %d breaks a rule\n%s\nlive through it again: go test ./server/simtest -run 'TestSimulation$' -sim.seeds=1 -sim.from=%d -sim.days=%d -v",
					o.seed, g.report(), o.seed, o.days)
			}
		})
	}
	t.Logf("%d worlds: %s, in %v", *seeds, sum, time.Since(began).Round(time.Millisecond))
}

func usual(seed uint64) options {
	return options{seed: seed, days: *days, calm: 7, numbers: 5, platforms: 6, busy: day, restarts: *days / 6, fate: 1.0 / 400}
}

// TestBrokenFence lives through worlds whose store lets two attempts of one order
// be made at once, which the ledger must see.
func TestBrokenFence(t *testing.T) {
	if fenced {
		t.Skip("needs -tags brokenfence")
	}
	caught := make(map[string]int)
	for seed := range uint64(3) {
		g := simulate(t, usual(seed+1))
		for _, b := range g.breaches {
			caught[b.rule]++
		}
		if len(g.breaches) == 0 {
			t.Errorf("seed %d: nobody noticed", seed+1)
		}
	}
	t.Logf("caught: %v", caught)
}

// simulate lives through one world.
func simulate(t *testing.T, o options) *ledger {
	var g *ledger
	cryptotest.SetGlobalRandom(t, o.seed)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		g = w.ledger
		w.live()
	})
	t.Logf("%d order lives, %d attempts, %d runs of the hub, digest %x", len(g.lives), g.sends, len(g.runs), g.digest())
	return g
}

// digest stands for all that happened, but for the ids of orders.
func (g *ledger) digest() uint64 {
	var all []string
	for _, l := range g.lives {
		all = append(all, l.story...)
	}
	slices.Sort(all)
	h := fnv.New64a()
	for _, line := range all {
		_, _ = h.Write([]byte(line))
	}
	return h.Sum64()
}

// totals sums worlds up.
type totals struct {
	lives, sends, polls, reports, effects, runs, crashes, days, breaches int
	ends                                                                 map[string]int
}

func (s *totals) add(g *ledger, days int) {
	if g == nil {
		return
	}
	if s.ends == nil {
		s.ends = make(map[string]int)
	}
	s.lives += len(g.lives)
	s.sends += g.sends
	s.polls += g.polls
	s.reports += g.reports
	s.effects += g.detached
	s.runs += len(g.runs)
	s.crashes += g.crashes
	s.days += days
	s.breaches += len(g.breaches)
	for _, l := range g.lives {
		s.ends[l.told]++
	}
}

// String is the line that is printed.
func (s totals) String() string {
	return fmt.Sprintf("%d order lives, %d attempts, %d questions, %d reports, %d effects, %d runs of the hub, %d crashes, %d simulated days, %d breaches, ends %v",
		s.lives, s.sends, s.polls, s.reports, s.effects, s.runs, s.crashes, s.days, s.breaches, s.ends)
}
