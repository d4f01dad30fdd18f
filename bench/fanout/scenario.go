package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/bench/internal/noise"
	"github.com/tongcha/tongcha/bench/internal/report"
)

const (
	usual = 20 * time.Millisecond // a platform's delay
	// soundShare is the least share of answered questions with which a
	// measurement of ours counts: silence is fast.
	soundShare = 0.999
)

// figures are what the rounds of one arm gave, by name.
type figures map[string][]float64

// rounds measures both arms in turn and returns their figures. extra is the
// share of questions that reached a platform beyond those that were asked.
func (b *bench) rounds(behaviour fleet.Behaviour, measure func(load.Lookup) (load.Result, figures)) ([2]figures, error) {
	all := [2]figures{{}, {}}
	if err := b.fleet.Set(behaviour); err != nil {
		return all, err
	}
	for range b.Rounds {
		for i, arm := range b.arms {
			runtime.GC() // neither arm pays for the other's garbage
			before, err := b.served()
			if err != nil {
				return all, err
			}
			others := noise.Start(b.fleet.PIDs())
			result, got := measure(arm.lookup)
			got["others"] = []float64{100 * others.Share()}
			after, err := b.served()
			if err != nil {
				return all, err
			}
			got["answered"] = []float64{result.Share()}
			got["extra"] = []float64{100 * (float64(after-before)/float64(max(result.Asked, 1)) - 1)}
			_, _ = fmt.Fprintf(b.out, "  %-8s", arm.name)
			for _, name := range []string{"rate", "p50", "p99", "late99", "answered", "extra", "others"} {
				if v, ok := got[name]; ok {
					_, _ = fmt.Fprintf(b.out, "  %s %.4g", name, v[0])
					all[i][name] = append(all[i][name], v[0])
				}
			}
			_, _ = fmt.Fprintln(b.out)
		}
	}
	return all, nil
}

// served counts after a moment in which questions under way arrive.
func (b *bench) served() (int64, error) {
	time.Sleep(100 * time.Millisecond)
	t, err := b.fleet.Totals()
	return t.Served, err
}

// row compares one figure by its medians. The value is their ratio.
func (b *bench) row(scenario, figure, name string, all [2]figures) report.Row {
	r := report.Row{
		Scenario: scenario, Figure: figure, Unit: "x",
		Base: load.Median(all[0][name]), Ours: load.Median(all[1][name]), Bases: all[0][name], Ourses: all[1][name],
	}
	for _, percent := range slices.Concat(all[0]["others"], all[1]["others"]) {
		r.Others = max(r.Others, percent/100)
	}
	r.Answered = []float64{load.Median(all[0]["answered"]), load.Median(all[1]["answered"])}
	if share := r.Answered[0]; share < soundShare {
		r.Note = fmt.Sprintf("though only %.0f %% of the questions of naive were answered", 100*share)
	}
	if r.Base == 0 {
		r.Invalid = "there is nothing to compare with"
	} else {
		r.Value = r.Ours / r.Base
	}
	if share := r.Answered[1]; share < soundShare {
		r.Invalid = fmt.Sprintf("only %.1f %% were answered", 100*share)
	}
	return r
}

func (b *bench) rate0() ([]report.Row, error) {
	return b.rate("0 ms, 64 in flight", fleet.Behaviour{}, 64, b.Warm, b.Round, 6)
}

// rate20 takes longer: where every lookup takes a second, a window of a few is
// hit by chance.
func (b *bench) rate20() ([]report.Row, error) {
	return b.rate("20 ms, 1024 in flight", fleet.Behaviour{Delay: usual}, 1024, 2*b.Warm, 2*b.Round, 8)
}

// rate keeps n lookups in flight.
func (b *bench) rate(name string, behaviour fleet.Behaviour, n int, warm, round time.Duration, aim float64) ([]report.Row, error) {
	all, err := b.rounds(behaviour, func(f load.Lookup) (load.Result, figures) {
		r := load.Closed(n, warm, round, &b.numbers, f)
		return r, figures{"rate": {r.PerSecond}}
	})
	row := b.row(name, "lookups/s", "rate", all)
	row.Aim, row.AtLeast = aim, true
	return []report.Row{row}, err
}

// timed puts lookups at a rate and takes quantiles, in ms, less the delay that
// the slowest platform has anyway.
func (b *bench) timed(perSecond float64, round, less time.Duration) func(load.Lookup) (load.Result, figures) {
	return func(f load.Lookup) (load.Result, figures) {
		r := load.Open(perSecond, b.Warm, round, &b.numbers, f)
		return r, figures{
			"p50":    {millis(load.Quantile(r.Latency, 0.50) - less)},
			"p99":    {millis(load.Quantile(r.Latency, 0.99) - less)},
			"late99": {millis(load.Quantile(r.Late, 0.99))},
		}
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (b *bench) overhead() ([]report.Row, error) {
	const name = "400/s at 20 ms"
	all, err := b.rounds(fleet.Behaviour{Delay: usual}, b.timed(400, b.Round, usual))
	p50, p99 := b.row(name, "overhead p50, ms", "p50", all), b.row(name, "overhead p99, ms", "p99", all)
	p50.Value, p50.Unit, p50.Aim = p50.Ours, "ms", 2.5
	p99.Aim = 0.5
	return []report.Row{p50, p99}, err
}

func (b *bench) stragglers() ([]report.Row, error) {
	const name = "1 % take 500 ms, 100/s"
	behaviour := fleet.Behaviour{Delay: usual, Share: 0.01, Straggler: 500 * time.Millisecond}
	all, err := b.rounds(behaviour, b.timed(100, 2*b.Round, 0)) // a rate this low needs longer for a p99
	p99, extra := b.row(name, "p99, ms", "p99", all), b.row(name, "extra calls, %", "extra", all)
	p99.Aim = 0.3
	extra.Value, extra.Unit, extra.Aim, extra.Invalid = extra.Ours, "%", 2, p99.Invalid
	return []report.Row{p99, extra}, err
}
