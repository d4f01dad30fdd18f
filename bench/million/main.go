// Command million measures the queue with a million orders open: how soon a hub is
// ready and how large, what a claim costs as the queue grows, and what ids that
// grow with time save.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tongcha/tongcha/bench/internal/noise"
	"github.com/tongcha/tongcha/bench/internal/report"
)

func main() {
	if dir := os.Getenv(serveVariable); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, "million:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	flag.StringVar(&s.dir, "dir", ".", "a folder on the disk to measure, with 3 GB free; a folder is made in it and removed")
	flag.IntVar(&s.orders, "orders", 1_000_000, "how many orders are open in the end, at least 1,000")
	flag.IntVar(&s.perPerson, "per-person", 1, "how many of them are one person's, 1 to 20")
	flag.Parse()
	if err := run(os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "million:", err)
		os.Exit(1)
	}
}

type settings struct {
	dir       string
	orders    int
	perPerson int
}

// The shape of what is measured.
const (
	platforms = 20
	batch     = 100 // orders of a claim, and finishes and enqueues of a commit
	rounds    = 60  // of which the median counts
)

func run(out io.Writer, s settings) (err error) {
	if s.orders < 1000 || s.perPerson < 1 || s.perPerson > platforms {
		return errors.New("want 1,000 orders at least and 1 to 20 of a person")
	}
	s.dir, err = os.MkdirTemp(s.dir, "million-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	meter := noise.Start(nil)
	rows, err := measure(out, s)
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].Others = meter.Share()
	}
	_, _ = fmt.Fprintln(out)
	return report.Print(out, "base", "ours", rows)
}

func measure(out io.Writer, s settings) ([]report.Row, error) {
	grown, err := open(filepath.Join(s.dir, "hub"), false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = grown.close() }() // the figures stand
	random, err := open(filepath.Join(s.dir, "random"), true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = random.close() }()

	sizes := []int{s.orders / 100, s.orders / 10, s.orders}
	var claims []time.Duration
	for _, n := range sizes {
		if err := grown.fill(out, n, s.perPerson); err != nil {
			return nil, err
		}
		cost, err := claimCost(grown)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(out, "claim of %d among %d open: %v\n", batch, n, cost)
		claims = append(claims, cost)
	}
	if err := random.fill(out, s.orders, s.perPerson); err != nil {
		return nil, err
	}
	timed, other, err := commitCosts(grown, random)
	if err != nil {
		return nil, err
	}
	size, err := grown.size()
	if err != nil {
		return nil, err
	}
	if err := grown.close(); err != nil {
		return nil, err
	}
	clean, err := start(grown.dir, false)
	if err != nil {
		return nil, err
	}
	crashed, err := start(grown.dir, true)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(out, "file: %d MiB, %d bytes an order\n", size>>20, size/int64(s.orders))
	_, _ = fmt.Fprintf(out, "hub after a clean stop: %s\nhub after a kill:       %s\n", clean, crashed)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	slower := max(clean.ready, crashed.ready)
	larger := max(clean.rss, crashed.rss)
	return []report.Row{
		{Scenario: "claim of 100", Figure: "µs", Base: us(claims[0]), Ours: us(claims[2]), Value: us(claims[2]), Unit: "µs", Aim: 250, Note: "base: a hundredth of the orders"},
		{Scenario: "claim, 100 times the queue", Figure: "µs", Base: us(claims[0]), Ours: us(claims[2]), Value: float64(claims[2]) / float64(claims[0]), Unit: "x", Aim: 1.5},
		{Scenario: "100 finishes + 100 enqueues", Figure: "µs", Base: us(other), Ours: us(timed), Value: float64(timed) / float64(other), Unit: "x", Aim: 0.7, Note: "base: random ids"},
		{Scenario: "ready", Figure: "s", Base: clean.ready.Seconds(), Ours: crashed.ready.Seconds(), Value: slower.Seconds(), Unit: "s", Aim: 5, Note: "base: after a clean stop; ours: after a kill"},
		{Scenario: "resident memory when ready", Figure: "MiB", Base: clean.rss, Ours: crashed.rss, Value: larger, Unit: "MiB", Aim: 512, Note: "as above"},
	}, nil
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
