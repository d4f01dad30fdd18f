// Command badqueue measures what platforms that are dead, drip or flood do to the
// unbind orders of the healthy ones and to the hub.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/report"
)

func main() {
	fleet.Main()
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "badqueue:", err)
		os.Exit(1)
	}
}

// settings is what the flags say.
type settings struct {
	Platforms int           `json:"platforms"`
	Processes int           `json:"processes"`
	PerSecond float64       `json:"perSecond"`
	Delay     time.Duration `json:"delay"`
	Modes     []string      `json:"modes"`
	Rounds    int           `json:"rounds"`
	Round     time.Duration `json:"round"`
	Warm      time.Duration `json:"warm"`
	dir, json string
}

func parse(args []string) (settings, error) {
	var s settings
	var quick bool
	var modes string
	f := flag.NewFlagSet("badqueue", flag.ContinueOnError)
	f.IntVar(&s.Platforms, "platforms", 20, "platforms that take orders")
	f.IntVar(&s.Processes, "processes", 2, "processes that the platforms share")
	f.Float64Var(&s.PerSecond, "rate", 300, "orders per second, over all platforms")
	f.DurationVar(&s.Delay, "delay", 20*time.Millisecond, "how long a healthy platform takes")
	f.StringVar(&modes, "modes", "silent,drip,floodMore", "ways to be bad, one platform each; there are mute, dripLater, flood and frames too")
	f.IntVar(&s.Rounds, "rounds", 3, "measurements without and with bad platforms, in turn; the median counts")
	f.DurationVar(&s.Round, "round", 10*time.Second, "length of a measurement")
	f.DurationVar(&s.Warm, "warm", 2*time.Second, "load before each measurement, in which platforms turn bad")
	f.StringVar(&s.dir, "dir", "", "folder for the databases; the system's for temporary files by default")
	f.StringVar(&s.json, "json", "", "file for the figures")
	f.BoolVar(&quick, "quick", false, "one short round of each; the figures are rough")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.Modes = strings.Split(modes, ",")
	if quick {
		s.Rounds, s.Round, s.Warm = 1, min(s.Round, 5*time.Second), min(s.Warm, time.Second)
	}
	if s.Platforms <= len(s.Modes) || s.Rounds < 1 || s.Round <= 0 || s.PerSecond <= 0 || f.NArg() > 0 {
		return s, errors.New("want more platforms than modes, positive rounds, round and rate, and no arguments")
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
	b := &bench{settings: s, out: out}
	if b.fleet, err = fleet.Start(s.Platforms, s.Processes); err != nil {
		return err
	}
	defer func() { _ = b.fleet.Close() }() // the figures stand
	all, err := b.compare()
	if err != nil {
		return err
	}
	rows := b.rows(all)
	_, _ = fmt.Fprintln(out)
	if err := report.Print(out, "clean", "bad", rows); err != nil {
		return err
	}
	if s.json != "" {
		return report.Write(s.json, s, rows)
	}
	return nil
}
