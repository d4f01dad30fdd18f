package simtest

import (
	"flag"
	"testing"
	"time"
)

var histories = flag.Int("sim.histories", 2000, "how many numbers TestWrongfulUnbinds follows")

// TestWrongfulUnbinds follows many numbers, each with its holders, bindings and
// orders, for some days: nothing is detached outside the rules. Its platforms are
// in the process and not behind gRPC, so that there can be many; all else is as in
// TestSimulation.
func TestWrongfulUnbinds(t *testing.T) {
	if !fenced {
		t.Skip("the fence is broken on purpose: see TestBrokenFence")
	}
	const each = 500
	var sum totals
	began := time.Now()
	first := *from
	if first < 1e6 {
		first = first*1e6 + 1 // else it is the seed of one world, to live through again
	}
	for i := range uint64(*histories+each-1) / each {
		o := options{
			seed: first + i, days: 6, calm: 3, numbers: each, platforms: 6, busy: 14 * hour, restarts: 2, fate: 1.0 / 5000, direct: true,
		}
		g := simulate(t, o)
		sum.add(g, o.days)
		if len(g.breaches) > 0 {
			t.Fatalf("seed %d breaks a rule\n%s\nlive through it again: go test ./server/simtest -run WrongfulUnbinds -sim.from=%d -sim.histories=1 -v", o.seed, g.report(), o.seed)
		}
	}
	t.Logf("%d histories: %s, in %v", *histories, sum, time.Since(began).Round(time.Millisecond))
}

// brisk are characters that fail in ways that matter to what is detached, and
// seldom enough that many orders are lived through.
func brisk() []character {
	return []character{
		{name: "sync", mode: "SYNC", refuses: 0.1},
		{name: "async", mode: "ASYNC", takes: [2]time.Duration{0, 8 * hour}, again: 4 * hour, reports: 1, copies: 2, lateness: 2 * day, wild: true, refuses: 0.2},
		{name: "amnesiac", mode: "ASYNC", takes: [2]time.Duration{30 * hour, 50 * hour}, forgets: 0.4, again: 13 * hour},
		{name: "lossy", mode: "SYNC", loses: 0.5, slow: 0.1},
		{name: "refuser", mode: "SYNC", refuses: 0.7},
		{name: "busy", mode: "SYNC", fails: 0.4, codes: allCodes(), waits: []time.Duration{hour, 20 * hour}},
	}
}
