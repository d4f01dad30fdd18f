package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/hub"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/bench/internal/noise"
	"github.com/tongcha/tongcha/bench/internal/report"
	"github.com/tongcha/tongcha/bench/internal/usage"
	"github.com/tongcha/tongcha/server/platform"
)

// bench compares the same platforms with and without bad ones among them.
type bench struct {
	settings
	fleet   *fleet.Fleet
	numbers load.Numbers
	out     io.Writer
}

// seen is what one measurement gave.
type seen struct {
	p50, p99   time.Duration // of the answers of the healthy platforms
	others     float64       // share of the machine that other programs took
	share      float64       // of their questions that were answered
	badShare   float64       // of the other platforms' questions that were answered
	poured     int64         // bytes that all platforms sent
	rss        int64         // bytes, the most that was seen
	idle, busy int           // goroutines before the load and right after it
	back       time.Duration // until the goroutines were back; an hour where they weren't in 60 s
}

// bad are the platforms that turn bad: three in ten.
func (b *bench) bad() []fleet.Address {
	return b.fleet.Site.Platforms[:b.Platforms*3/10]
}

// compare measures without and with bad platforms in turn.
func (b *bench) compare() (all [2][]seen, err error) {
	for range b.Rounds {
		for i, name := range []string{"clean", "bad"} {
			got, err := b.measure(i == 1)
			if err != nil {
				return all, err
			}
			all[i] = append(all[i], got)
			_, _ = fmt.Fprintf(b.out, "%-6s p50 %.2f ms, p99 %.2f ms, answered %.4f, the others %.4f, %.0f MiB poured in, RSS %.1f MiB, goroutines %d, %d after the load, back after %v, others took %.0f %%\n",
				name, millis(got.p50), millis(got.p99), got.share, got.badShare, float64(got.poured)/(1<<20), float64(got.rss)/(1<<20), got.idle, got.busy, got.back.Round(time.Millisecond), 100*got.others)
		}
	}
	return all, nil
}

func (b *bench) rows(all [2][]seen) []report.Row {
	name := fmt.Sprintf("%d of %d bad, %g/s", len(b.bad()), b.Platforms, b.PerSecond)
	row := func(figure string, of func(seen) float64) report.Row {
		r := report.Row{Scenario: name, Figure: figure}
		for _, s := range all[0] {
			r.Bases = append(r.Bases, of(s))
			r.Others = max(r.Others, s.others)
		}
		for _, s := range all[1] {
			r.Ourses = append(r.Ourses, of(s))
			r.Others = max(r.Others, s.others)
			if s.share < 0.999 {
				r.Invalid = fmt.Sprintf("only %.1f %% of the healthy answered", 100*s.share)
			}
		}
		r.Base, r.Ours = load.Median(r.Bases), load.Median(r.Ourses)
		return r
	}
	p99 := row("healthy p99, ms", func(s seen) float64 { return millis(s.p99) })
	p99.Value, p99.Unit, p99.Aim = p99.Ours/max(p99.Base, 1e-3), "x", 1.2
	rss := row("RSS at most, MiB", func(s seen) float64 { return float64(s.rss) / (1 << 20) })
	rss.Base, rss.Ours = slices.Max(rss.Bases), slices.Max(rss.Ourses)
	rss.Value, rss.Unit, rss.Aim = rss.Ours-rss.Base, "MiB", 64
	back := row("goroutines back, s", func(s seen) float64 { return s.back.Seconds() })
	back.Ours = slices.Max(back.Ourses)
	back.Value, back.Unit, back.Aim = back.Ours, "s", usage.BackWithin.Seconds()
	return []report.Row{p99, rss, back}
}

// measure puts load to a new hub. Bad platforms were sound when they joined.
func (b *bench) measure(bad bool) (seen, error) {
	if err := b.fleet.Set(fleet.Behaviour{Delay: b.Delay}); err != nil {
		return seen{}, err
	}
	answers := newAnswers(b.fleet.Site.Platforms[len(b.bad()):])
	h, err := hub.New(b.fleet.Site, hub.Options{Observe: answers.observe})
	if err != nil {
		return seen{}, err
	}
	defer h.Close()
	load.Open(b.PerSecond, 0, b.Warm, &b.numbers, h.Lookup)
	debug.FreeOSMemory()
	got := seen{idle: runtime.NumGoroutine()}
	if bad {
		if err := b.spoil(); err != nil {
			return seen{}, err
		}
	}
	load.Open(b.PerSecond, 0, b.Warm, &b.numbers, h.Lookup)
	answers.begin()
	before, err := b.fleet.Totals()
	if err != nil {
		return seen{}, err
	}
	others := noise.Start(b.fleet.PIDs())
	stop := usage.WatchRSS(&got.rss)
	load.Open(b.PerSecond, 0, b.Round, &b.numbers, h.Lookup)
	stop()
	got.others = others.Share()
	got.busy = runtime.NumGoroutine()
	after, err := b.fleet.Totals()
	if err != nil {
		return seen{}, err
	}
	got.poured = after.Sent - before.Sent
	answers.end(&got)
	got.back = usage.Back(got.idle + b.Platforms) // one per platform may be connecting
	return got, nil
}

func (b *bench) spoil() error {
	for i, p := range b.bad() {
		mode := fleet.Mode(b.Modes[i%len(b.Modes)])
		if err := b.fleet.Set(fleet.Behaviour{Mode: mode, Delay: b.Delay}, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// answers gathers how long the healthy platforms took, between begin and end.
type answers struct {
	mu      sync.Mutex
	healthy map[platform.ID]bool
	open    bool
	took    []time.Duration
	silent  int
	others  struct{ asked, answered int }
}

func newAnswers(healthy []fleet.Address) *answers {
	a := &answers{healthy: make(map[platform.ID]bool)}
	for _, p := range healthy {
		a.healthy[platform.ID(p.ID)] = true
	}
	return a
}

func (a *answers) observe(id platform.ID, answer platform.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open {
		return
	}
	if !a.healthy[id] {
		a.others.asked++
		if answer.State.Answered() {
			a.others.answered++
		}
		return
	}
	a.took = append(a.took, answer.Took)
	if !answer.State.Answered() {
		a.silent++
	}
}

func (a *answers) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open, a.took = true, make([]time.Duration, 0, 1<<17) // no growth while memory is watched
}

func (a *answers) end(got *seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = false
	slices.Sort(a.took)
	got.p50, got.p99 = load.Quantile(a.took, 0.50), load.Quantile(a.took, 0.99)
	got.share = 1 - float64(a.silent)/float64(max(len(a.took), 1))
	got.badShare = float64(a.others.answered) / float64(max(a.others.asked, 1))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
