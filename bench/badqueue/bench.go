package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/bench/internal/noise"
	"github.com/tongcha/tongcha/bench/internal/report"
	"github.com/tongcha/tongcha/bench/internal/usage"
)

// bench compares the orders of the same platforms with and without bad ones
// among them.
type bench struct {
	settings
	fleet   *fleet.Fleet
	numbers load.Numbers
	out     io.Writer
}

// seen is what one measurement gave.
type seen struct {
	p50, p99   time.Duration // from the request to COMPLETED, of the healthy platforms' orders
	perSecond  float64       // of them that were completed
	share      float64       // of them that were completed at all
	badSent    int           // attempts at the other platforms
	badDone    int           // orders of theirs that were completed
	others     float64       // share of the machine that other programs took
	rss        int64         // bytes, the most that was seen
	idle, busy int           // goroutines before the load and right after it
	back       time.Duration // until the goroutines were back; an hour where they weren't in 60 s
}

// more is how many goroutines there may be beyond those before the load.
const more = 10

// bad are the platforms that turn bad, one for each mode.
func (b *bench) bad() []fleet.Address { return b.fleet.Site.Platforms[:len(b.Modes)] }

// compare measures without and with bad platforms in turn.
func (b *bench) compare() (all [2][]seen, err error) {
	for range b.Rounds {
		for i, name := range []string{"clean", "bad"} {
			got, err := b.measure(i == 1)
			if err != nil {
				return all, err
			}
			all[i] = append(all[i], got)
			_, _ = fmt.Fprintf(b.out, "%-6s %.0f orders/s, p50 %.1f ms, p99 %.1f ms, completed %.4f, the others: %d attempts, %d completed; RSS %.1f MiB, goroutines %d, %d after the load, back after %v, other programs took %.0f %%\n",
				name, got.perSecond, millis(got.p50), millis(got.p99), got.share, got.badSent, got.badDone, float64(got.rss)/(1<<20), got.idle, got.busy, got.back.Round(time.Millisecond), 100*got.others)
		}
	}
	return all, nil
}

func (b *bench) rows(all [2][]seen) []report.Row {
	name := fmt.Sprintf("%d of %d bad, %g orders/s", len(b.bad()), b.Platforms, b.PerSecond)
	row := func(figure string, of func(seen) float64) report.Row {
		r := report.Row{Scenario: name, Figure: figure}
		for i, to := range []*[]float64{&r.Bases, &r.Ourses} {
			for _, s := range all[i] {
				*to = append(*to, of(s))
				r.Others = max(r.Others, s.others)
				if s.share < 0.999 {
					r.Invalid = fmt.Sprintf("only %.1f %% of the healthy platforms' orders were completed", 100*s.share)
				}
			}
		}
		r.Base, r.Ours = load.Median(r.Bases), load.Median(r.Ourses)
		return r
	}
	through := row("healthy completed/s", func(s seen) float64 { return s.perSecond })
	through.Value, through.Unit, through.Aim, through.AtLeast = through.Ours/max(through.Base, 1e-3), "x", 0.9, true
	p99 := row("healthy p99, ms", func(s seen) float64 { return millis(s.p99) })
	p99.Value, p99.Unit, p99.Aim = p99.Ours/max(p99.Base, 1e-3), "x", 1.2
	rss := row("RSS at most, MiB", func(s seen) float64 { return float64(s.rss) / (1 << 20) })
	rss.Base, rss.Ours = slices.Max(rss.Bases), slices.Max(rss.Ourses)
	rss.Value, rss.Unit, rss.Aim = rss.Ours-rss.Base, "MiB", 64
	back := row("goroutines back, s", func(s seen) float64 { return s.back.Seconds() })
	back.Ours = slices.Max(back.Ourses)
	back.Value, back.Unit, back.Aim = back.Ours, "s", usage.BackWithin.Seconds()
	return []report.Row{through, p99, rss, back}
}

// measure puts orders to a new hub. Bad platforms were sound when they joined.
func (b *bench) measure(bad bool) (got seen, err error) {
	if err := b.fleet.Set(fleet.Behaviour{Delay: b.Delay}); err != nil {
		return seen{}, err
	}
	h, err := newHub(b.fleet.Site, b.dir)
	if err != nil {
		return seen{}, err
	}
	defer func() {
		if cerr := h.close(); err == nil {
			err = cerr
		}
	}()
	load.Open(b.PerSecond, 0, b.Warm, &b.numbers, h.order)
	h.settle()
	debug.FreeOSMemory()
	got = seen{idle: runtime.NumGoroutine()}
	if bad {
		if err := b.spoil(); err != nil {
			return seen{}, err
		}
	}
	load.Open(b.PerSecond, 0, b.Warm, &b.numbers, h.order)
	others := noise.Start(b.fleet.PIDs())
	stop := usage.WatchRSS(&got.rss)
	h.begin()
	load.Open(b.PerSecond, 0, b.Round, &b.numbers, h.order)
	h.end()
	stop()
	got.others, got.busy = others.Share(), runtime.NumGoroutine()
	h.figures(&got, b.bad(), b.Round)
	got.back = usage.Back(got.idle + more)
	return got, nil
}

func (b *bench) spoil() error {
	for i, p := range b.bad() {
		if err := b.fleet.Set(fleet.Behaviour{Mode: fleet.Mode(b.Modes[i]), Delay: b.Delay}, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
