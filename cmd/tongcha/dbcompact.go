package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server/store/bolt"
)

func newDBCompact() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "compact", Short: "Give the disk back what the database of a stopped hub does not use", Args: cobra.NoArgs,
		Long: "Write the database of a stopped hub into a new file without holes, compare the two, and put the new one in the\n" +
			"place of the old one in one step. Before that it says how long it takes and how much room it needs beside the\n" +
			"database, both measured on a part of it; without that room nothing begins." + dbExitCodes + ".",
		Example: "  tongcha db compact --dry-run     # the prediction alone\n  tongcha db compact",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runCompact(cmd, dry) },
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what it would take, and change nothing")
	addOutput(cmd)
	return cmd
}

type compactView struct {
	Database      string  `json:"database"`
	DryRun        bool    `json:"dryRun"`
	Bytes         int64   `json:"bytes"`
	BytesAfter    int64   `json:"bytesAfter"`
	Records       int64   `json:"records"`
	BytesNeeded   int64   `json:"bytesNeeded"`
	BytesFree     int64   `json:"bytesFree"`
	PredictedTime float64 `json:"predictedSeconds"`
	Time          float64 `json:"seconds"`
	Pays          bool    `json:"pays"`
}

func runCompact(cmd *cobra.Command, dry bool) error {
	path, err := database(cmd)
	if err != nil {
		return err
	}
	if err := thereIs(path); err != nil {
		return err
	}
	m := newMeter(cmd)
	began := time.Now()
	view := compactView{Database: path, DryRun: dry}
	done, err := bolt.Compact(cmd.Context(), path, bolt.CompactOptions{DryRun: dry, Progress: m.tell, Planned: func(p bolt.CompactPlan) error {
		m.end()
		view.PredictedTime, view.Pays = p.Pause.Seconds(), p.Pays()
		if dry {
			return nil
		}
		_, err := fmt.Fprintf(cmd.ErrOrStderr(), "the hub has to stay stopped for about %s; about %s are needed, %s are free\n", p.Pause.Round(10*time.Millisecond), size(p.Need), size(p.Free))
		return err
	}})
	m.end()
	if err != nil {
		return dbError(err)
	}
	view.Bytes, view.BytesAfter, view.Records, view.BytesNeeded, view.BytesFree = done.Size, done.After, done.Records, done.Need, done.Free
	view.Time = time.Since(began).Seconds()
	return emit(cmd, view, view.table())
}

func (v compactView) table() table {
	seconds := func(s float64) string { return fmt.Sprintf("%.2f s", s) }
	t := table{{"database", v.Database}, {"size", size(v.Bytes)}}
	if !v.DryRun {
		return append(t, []string{"size now", size(v.BytesAfter)}, []string{"records", number(v.Records)}, []string{"took", seconds(v.Time)}, []string{"next", "start the hub"})
	}
	return append(t, []string{"size after", "about " + size(v.BytesAfter)}, []string{"records", number(v.Records)},
		[]string{"room", fmt.Sprintf("%s needed, %s free", size(v.BytesNeeded), size(v.BytesFree))},
		[]string{"pause", "about " + seconds(v.PredictedTime)}, []string{"pays", yes(v.Pays)})
}
