package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
)

// wholeReplay bounds a replay or a discard: 600,000 dead letters at a rate of one
// in a second take a week.
const wholeReplay = 7 * 24 * time.Hour

// namedFailures is how many dead letters that could not be done are named.
const namedFailures = 20

const workCodes = "Exit codes: 0 done, 1 some could not be, or it was stopped, 2 the command line is wrong or --yes is missing, 3 no hub\n" +
	"answers."

// deadWork is a replay or a discard of dead letters.
type deadWork struct {
	done   string // "replayed"
	filter deadFilter
	all    bool
	limit  int32
	dryRun bool
	yes    bool
}

func (w *deadWork) flags(cmd *cobra.Command) {
	w.filter.flags(cmd)
	cmd.Flags().BoolVar(&w.all, "all", false, "every dead letter, where no filter is given")
	cmd.Flags().Int32Var(&w.limit, "limit", 0, "at most so many, the oldest of a platform first; 0 for no limit")
	cmd.Flags().BoolVar(&w.dryRun, "dry-run", false, "only say which would be "+w.done)
	cmd.Flags().BoolVar(&w.yes, "yes", false, "do it; needed where dead letters are not named by their ids")
	addOutput(cmd)
}

// selection reads the arguments; what they leave open is a usage error.
func (w *deadWork) selection(args []string) (*adminv1.DeadLetterSelection, error) {
	filter, err := w.filter.message()
	if err != nil {
		return nil, err
	}
	switch {
	case len(args) > 0 && (filter != nil || w.all):
		return nil, usageError("give ids, or a filter or --all, not both")
	case filter != nil && w.all:
		return nil, usageError("--all is for no filter; leave one of them out")
	case len(args) == 0 && filter == nil && !w.all:
		return nil, usageError("which? Give ids, or --platform, --reason or --older-than, or --all")
	case len(args) > pageRows:
		return nil, usageError("at most %d ids at once; a filter takes more", pageRows)
	case w.limit < 0:
		return nil, usageError("--limit must not be negative")
	case len(args) == 0 && !w.dryRun && !w.yes:
		return nil, usageError("look with --dry-run which they are, then give --yes")
	}
	if err := areIDs(args); err != nil {
		return nil, err
	}
	return &adminv1.DeadLetterSelection{UnbindIds: args, Filter: filter, All: w.all, Limit: w.limit, DryRun: w.dryRun}, nil
}

// progressStream is the hub's word on how far it is.
type progressStream func() (*adminv1.DeadLetterProgress, error)

func newDLQReplay() *cobra.Command {
	w := &deadWork{done: "replayed"}
	speed := rate(10)
	cmd := &cobra.Command{
		Use: "replay [ORDER…]", Short: "Send dead letters again, at a rate", Args: cobra.ArbitraryArgs,
		ValidArgsFunction: deadLetterIDs,
		Long: "Open dead letters again, those that are named or those that the filters find. They are queued one after the other at\n" +
			"--rate, so that a platform that has just come back is not flooded. Their due times stay: they are late. An attempt at\n" +
			"one keeps its order's id, so that a platform that did it after all does it no second time; where a carrier\n" +
			"says that the number changed hands meanwhile the order is cancelled instead.\n\n" +
			"It runs in the hub as long as this command does. Ctrl-C stops it between two; what was replayed stays so, and the\n" +
			"same command goes on with the rest. Dead letters that come while it runs are left for the next time.\n\n" + workCodes,
		Example: "  tongcha dlq replay --platform mall --older-than 7d --dry-run\n" +
			"  tongcha dlq replay --platform mall --reason TOO_OLD --rate 5/s --yes\n" +
			"  tongcha dlq replay 06cn1k8x4j2v9qdt0h5m3w7e1r",
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := w.selection(args)
			if err != nil {
				return err
			}
			return w.run(cmd, func(ctx context.Context, c adminv1.QueueServiceClient) (progressStream, error) {
				s, err := c.ReplayDeadLetters(ctx, &adminv1.ReplayDeadLettersRequest{Selection: sel, PerSecond: float64(speed)})
				if err != nil {
					return nil, err
				}
				return func() (*adminv1.DeadLetterProgress, error) {
					m, err := s.Recv()
					return m.GetProgress(), err
				}, nil
			})
		},
	}
	cmd.Flags().Var(&speed, "rate", "how many, such as 10/s or 30/m, at most 1000/s")
	w.flags(cmd)
	return cmd
}

func newDLQDiscard() *cobra.Command {
	w := &deadWork{done: "discarded"}
	var note string
	cmd := &cobra.Command{
		Use: "discard [ORDER…]", Short: "Put dead letters aside for good, with a note", Args: cobra.ArbitraryArgs,
		ValidArgsFunction: deadLetterIDs,
		Long: "Put dead letters aside, those that are named or those that the filters find. The order stays ABANDONED, as the person\n" +
			"sees it, and is kept with the note as long as any other; it can't be replayed any more. Ctrl-C stops it between two.\n\n" + workCodes,
		Example: "  tongcha dlq discard 06cn1k8x4j2v9qdt0h5m3w7e1r --note 'detached by the platform by hand'\n" +
			"  tongcha dlq discard --platform gone --note 'the platform was closed' --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNote("--note", note); err != nil {
				return err
			}
			sel, err := w.selection(args)
			if err != nil {
				return err
			}
			return w.run(cmd, func(ctx context.Context, c adminv1.QueueServiceClient) (progressStream, error) {
				s, err := c.DiscardDeadLetters(ctx, &adminv1.DiscardDeadLettersRequest{Selection: sel, Note: note})
				if err != nil {
					return nil, err
				}
				return func() (*adminv1.DeadLetterProgress, error) {
					m, err := s.Recv()
					return m.GetProgress(), err
				}, nil
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the record, at most 200 characters (required)")
	w.flags(cmd)
	return cmd
}

// run follows the work to its end and says what came of it, also where it was cut
// short.
func (w *deadWork) run(cmd *cobra.Command, begin func(context.Context, adminv1.QueueServiceClient) (progressStream, error)) error {
	var first, last *adminv1.DeadLetterProgress
	m := newMeter(cmd)
	err := withQueue(cmd, wholeReplay, func(ctx context.Context, c adminv1.QueueServiceClient) error {
		next, err := begin(ctx, c)
		if err != nil {
			return err
		}
		for {
			p, err := next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if first == nil {
				first = p
			}
			last = p
			w.tell(cmd, m, p)
		}
	})
	m.end()
	if first == nil {
		return err
	}
	if w.dryRun && err == nil {
		return emit(cmd, first, w.countTable(first))
	}
	if err := emit(cmd, last, w.resultTable(last)); err != nil {
		return err
	}
	return w.verdict(cmd, last, err)
}

func (w *deadWork) tell(cmd *cobra.Command, m *meter, p *adminv1.DeadLetterProgress) {
	if f := p.GetFailure(); f != nil && p.GetFailed() <= namedFailures {
		m.end()
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s was not %s (%s)\n", f.GetUnbindId(), w.done, f.GetReason())
	}
	m.tell(w.done, p.GetDone()+p.GetFailed(), p.GetTotal())
}

func (w *deadWork) countTable(p *adminv1.DeadLetterProgress) table {
	if len(p.GetCounts()) == 0 {
		return w.resultTable(p)[:1]
	}
	now := time.Now()
	t := table{{"PLATFORM", "REASON", "DEAD LETTERS", "OLDEST"}}
	for _, c := range p.GetCounts() {
		t = append(t, []string{c.GetPlatformId(), dash(c.GetReason()), strconv.FormatInt(c.GetCount(), 10), from(c.GetOldestTime(), now)})
	}
	return t
}

func (w *deadWork) resultTable(p *adminv1.DeadLetterProgress) table {
	return table{
		{"chosen", strconv.FormatInt(p.GetTotal(), 10)},
		{w.done, strconv.FormatInt(p.GetDone(), 10)},
		{"could not be", strconv.FormatInt(p.GetFailed(), 10)},
	}
}

// verdict is the error of work that is not whole.
func (w *deadWork) verdict(cmd *cobra.Command, p *adminv1.DeadLetterProgress, err error) error {
	switch {
	case cmd.Context().Err() != nil && err != nil:
		return fmt.Errorf("stopped: %d of %d were %s, and perhaps one more; the same command goes on with the rest", p.GetDone(), p.GetTotal(), w.done)
	case err != nil:
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "cut short after %d of %d; the same command goes on with the rest\n", p.GetDone(), p.GetTotal())
		return err
	case p.GetFailed() > 0:
		return fmt.Errorf("%d of %d could not be %s: they are no dead letters, or not any more; see `tongcha dlq list`", p.GetFailed(), p.GetTotal(), w.done)
	}
	return nil
}
