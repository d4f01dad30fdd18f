// Command rest measures a lookup over the hub's REST API beside two aggregators
// that one would set up first: nginx with server-side includes, and a plain
// net/http program with one goroutine per platform. All ask the same platforms,
// each a process of its own, in the same run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	roleMain()
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rest:", err)
		os.Exit(1)
	}
}

// settings is what the flags say.
type settings struct {
	platforms, clients, rounds int
	seconds, warm              float64
	folder, profile            string
}

func parse(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("rest", flag.ContinueOnError)
	f.IntVar(&s.platforms, "platforms", 32, "platforms to ask, each a process")
	f.IntVar(&s.clients, "clients", 16, "lookups under way at any time")
	f.IntVar(&s.rounds, "rounds", 3, "measurements of each arm, in turn; the median counts")
	f.Float64Var(&s.seconds, "seconds", 5, "length of a measurement")
	f.Float64Var(&s.warm, "warm", 1, "seconds of load before each measurement")
	f.StringVar(&s.folder, "folder", "", "where the run keeps its files, among them the hub's database (default: a temporary folder)")
	f.StringVar(&s.profile, "profile", "", "file for a CPU profile of the hub")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if s.platforms < 1 || s.platforms > 200 || s.clients < 1 || s.clients > 1000 || s.rounds < 1 || s.seconds <= 0 || s.seconds > 600 || s.warm < 0 || f.NArg() > 0 {
		return s, errors.New("want 1 to 200 platforms, 1 to 1000 clients, at least one round, up to 600 seconds, and no arguments")
	}
	return s, nil
}

// arm is one of the programs that are compared. look makes one whole lookup for
// a client and returns the last answer.
type arm struct {
	name string
	look func(client int) ([]byte, error)
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	b := &bench{settings: s}
	defer func() { err = errors.Join(err, b.close()) }()
	if b.dir, err = os.MkdirTemp(s.folder, "tongcha-bench-"); err != nil {
		return err
	}
	arms, err := b.open(out)
	if err != nil {
		return err
	}
	var results []result
	for round := range s.rounds {
		for _, a := range arms {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, _ = fmt.Fprintf(out, "round %d of %d: %s\n", round+1, s.rounds, a.name)
			b.load(a, s.warm)
			results = append(results, b.load(a, s.seconds))
		}
	}
	return report(out, s, arms, results)
}

// bench is a run: its files and the processes of all arms.
type bench struct {
	settings
	dir      string
	children []io.Closer
}

// open starts the platforms and whatever asks them.
func (b *bench) open(out io.Writer) ([]arm, error) {
	platforms, err := b.startPlatforms()
	if err != nil {
		return nil, err
	}
	hub, err := b.openHub(platforms)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	plain, err := b.openPlain(platforms)
	if err != nil {
		return nil, fmt.Errorf("net/http aggregator: %w", err)
	}
	arms := []arm{hub, plain}
	nginx, err := b.openNginx(platforms)
	switch {
	case errors.Is(err, errNoNginx):
		_, _ = fmt.Fprintln(out, "nginx is not installed, so its row is left out; on Debian: apt-get install nginx-light")
	case err != nil:
		return nil, fmt.Errorf("nginx: %w", err)
	default:
		arms = append(arms, nginx)
	}
	return arms, b.try(arms)
}

// try makes one lookup with each arm, so that one that does not work is told
// apart from a slow one.
func (b *bench) try(arms []arm) error {
	for _, a := range arms {
		answer, err := a.look(0)
		if err == nil && !b.whole(answer) {
			err = fmt.Errorf("not every platform answered: %.300s", answer)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

func (b *bench) close() error {
	var errs []error
	for _, c := range slices.Backward(b.children) {
		errs = append(errs, c.Close())
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// report shows the medians. A ratio above 1 is in favour of the hub.
func report(out io.Writer, s settings, arms []arm, results []result) error {
	_, _ = fmt.Fprintf(out, "\n%d platforms, %d clients, median of %d rounds of %.3g s\n\n", s.platforms, s.clients, s.rounds, s.seconds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\tlookups/s\tp50\tp99\tfailed\tTongcha is")
	var ours float64
	for _, a := range arms {
		r := medianOf(results, a.name)
		if ours == 0 {
			ours = r.rate
		}
		_, _ = fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%d\t%.2f×\n", a.name, r.rate, r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.failed, ours/r.rate)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(out, `
What is not the same:
- Tongcha speaks gRPC with its platforms over mutual TLS; the other two, plain HTTP.
- Tongcha makes two requests of a lookup, start and wait, and checks a session in both; the other two know no callers.
- Tongcha writes each lookup to its disk before it asks, and what was answered afterwards; the other two keep nothing.
- Tongcha and the net/http program check what platforms say; nginx passes on any bytes.
- Tongcha ends without a platform that does not answer, after 2.5 s, and says so in its row; a client of the other two
  waits as long as they do, here 30 s and 60 s.
- The load comes from this machine too and takes its share of the processors.
`)
	return err
}
