package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tongcha/tongcha/bench/internal/noise"
)

// print shows the medians of the rounds, and ours divided by each arm; what fails
// to be written, Flush tells.
func (b *bench) print(out io.Writer) error {
	_, _ = fmt.Fprintf(out, "PostgreSQL with %s; %d connections, %d for gathered writes.\nMedians of %d rounds of %s.\n\n",
		strings.Join(settings(), " "), poolSize, b.writers, b.rounds, b.each)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "producers\tarm\tlives/s\tlow–high\tbare /\twhole /\tack p50\tack p99\tCPU/life\tothers\t")
	var others float64
	for i, n := range b.producers {
		for _, a := range b.arms {
			c := b.cells[a.name][i]
			_, _ = fmt.Fprintf(w, "%d\t%s\t%.0f\t%.0f–%.0f\t%s\t%s\t%s\t%s\t%s\t%.0f%%\t\n", n, a.name, median(c.rates), slices.Min(c.rates), slices.Max(c.rates),
				b.ratio("bare", a.name, i), b.ratio("whole", a.name, i), quantile(c.acks, 0.5), quantile(c.acks, 0.99), c.each(), 100*c.other)
			others = max(others, c.other)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if others > noise.TooMuch {
		_, err := fmt.Fprintf(out, "\nOther programs took up to %.0f %% of the machine. Measure again when it is quiet.\n", 100*others)
		return err
	}
	return nil
}

// each is the time of cores for one life.
func (c cell) each() time.Duration {
	return (c.cpu / time.Duration(max(1, c.lives))).Round(time.Microsecond)
}

func (b *bench) ratio(ours, of string, i int) string {
	c, ok := b.cells[ours]
	if !ok || ours == of {
		return ""
	}
	return fmt.Sprintf("%.2f", median(c[i].rates)/median(b.cells[of][i].rates))
}

func median(rates []float64) float64 {
	s := slices.Sorted(slices.Values(rates))
	return s[len(s)/2]
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))].Round(10 * time.Microsecond)
}
