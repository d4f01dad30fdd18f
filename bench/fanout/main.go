// Command fanout measures the hub's fan-out to platforms beside one goroutine
// per call, in the same run, against the same platforms behind mutual TLS.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/hub"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/bench/internal/report"
)

func main() {
	fleet.Main()
	holdingMain()
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
}

// settings is what the flags say.
type settings struct {
	Platforms int           `json:"platforms"`
	Processes int           `json:"processes"`
	Rounds    int           `json:"rounds"`
	Round     time.Duration `json:"round"`
	Warm      time.Duration `json:"warm"`
	Held      int           `json:"held"`
	Hold      time.Duration `json:"hold"`
	Watch     bool          `json:"watch"`
	only      string
	json      string
}

func parse(args []string) (settings, error) {
	var s settings
	var quick bool
	f := flag.NewFlagSet("fanout", flag.ContinueOnError)
	f.IntVar(&s.Platforms, "platforms", 32, "platforms to ask")
	f.IntVar(&s.Processes, "processes", 2, "processes that the platforms share")
	f.IntVar(&s.Rounds, "rounds", 3, "measurements of each arm, in turn; the median counts")
	f.DurationVar(&s.Round, "round", 4*time.Second, "length of a measurement")
	f.DurationVar(&s.Warm, "warm", time.Second, "load before each measurement")
	f.IntVar(&s.Held, "held", 1000, "lookups that are open while memory is measured")
	f.DurationVar(&s.Hold, "hold", 3*time.Second, "how long they are open before memory is measured")
	f.BoolVar(&s.Watch, "watch", false, "wait for lookups as the API does, woken by every answer")
	f.StringVar(&s.only, "only", "", "scenarios to run, by comma: "+strings.Join(names(), ", "))
	f.StringVar(&s.json, "json", "", "file for the figures")
	f.BoolVar(&quick, "quick", false, "one short round of each; the figures are rough")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if quick {
		s.Rounds, s.Round, s.Warm = 1, min(s.Round, 1500*time.Millisecond), min(s.Warm, 500*time.Millisecond)
		s.Held, s.Hold = min(s.Held, 200), min(s.Hold, time.Second)
	}
	if s.Rounds < 1 || s.Round <= 0 || s.Held < 1 || s.Hold <= 0 || f.NArg() > 0 {
		return s, errors.New("want positive rounds, round, held and hold, and no arguments")
	}
	return s, nil
}

func run(args []string, out io.Writer) error {
	s, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	chosen, err := choose(s.only)
	if err != nil {
		return err
	}
	b, err := open(s, out)
	if err != nil {
		return err
	}
	defer b.close()
	var rows []report.Row
	for _, one := range chosen {
		_, _ = fmt.Fprintf(out, "measuring %s\n", one.name)
		more, err := one.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		rows = append(rows, more...)
	}
	_, _ = fmt.Fprintln(out)
	if err := report.Print(out, "naive", "tongcha", rows); err != nil {
		return err
	}
	if s.json != "" {
		return report.Write(s.json, s, rows)
	}
	return nil
}

// scenario is one comparison. Its run gives the rows.
type scenario struct {
	name string
	run  func(*bench) ([]report.Row, error)
}

func scenarios() []scenario {
	return []scenario{
		{"rate0", (*bench).rate0},
		{"rate20", (*bench).rate20},
		{"overhead", (*bench).overhead},
		{"stragglers", (*bench).stragglers},
		{"memory", (*bench).memory},
	}
}

func names() []string {
	var out []string
	for _, s := range scenarios() {
		out = append(out, s.name)
	}
	return out
}

func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios(), nil
	}
	var out []scenario
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(names(), name)
		if i < 0 {
			return nil, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(names(), ", "))
		}
		out = append(out, scenarios()[i])
	}
	return out, nil
}

// bench is a fleet and the two arms that ask it.
type bench struct {
	settings
	fleet   *fleet.Fleet
	arms    [2]arm // the base first
	hub     *hub.Hub
	naive   *naive
	numbers load.Numbers
	out     io.Writer
}

// arm is one way to look a number up.
type arm struct {
	name   string
	lookup load.Lookup
}

// within is how long a platform may take in both arms, as in production.
const within = 2500 * time.Millisecond

func open(s settings, out io.Writer) (_ *bench, err error) {
	b := &bench{settings: s, out: out}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.fleet, err = fleet.Start(s.Platforms, s.Processes); err != nil {
		return nil, err
	}
	if b.hub, err = hub.New(b.fleet.Site, hub.Options{Deadline: within, Watch: s.Watch}); err != nil {
		return nil, err
	}
	if b.naive, err = newNaive(b.fleet.Site, within); err != nil {
		return nil, err
	}
	b.arms = [2]arm{{"naive", b.naive.lookup}, {"tongcha", b.hub.Lookup}}
	return b, nil
}

func (b *bench) close() {
	if b.hub != nil {
		b.hub.Close()
	}
	if b.naive != nil {
		b.naive.close()
	}
	if b.fleet != nil {
		_ = b.fleet.Close() // the figures stand
	}
}
