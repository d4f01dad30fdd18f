package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server/store/bolt"
)

func newDBRestore() *cobra.Command {
	var yes, dry bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database of a stopped hub", Args: cobra.ExactArgs(1),
		Long: "Put a backup in the place of the database of a stopped hub. The backup is checked first, the present database\n" +
			"is kept beside it under a name with the date, and the change is one step.\n\n" +
			"What was so at the time of the backup is believed, except for this: all codes and sessions end; no order that\n" +
			"was open can be cancelled any more, since it may have been sent; before it is sent its holder is checked.\n" +
			"Orders that ended since are sent again under the same ids, which platforms answer as before. Where the present\n" +
			"database can be read, orders cancelled and platforms suspended since stay so, and daily counts are not lowered.\n" +
			"Orders taken since the backup are not in it.\n\n" +
			"Exit codes: 0 done, 1 it failed or the backup is not good, 2 the command line is wrong or --yes is missing, 3 a hub\n" +
			"has the database open.",
		Example: "  tongcha db restore /backup/tongcha.db --keys /etc/tongcha/keys.json --dry-run\n" +
			"  tongcha db restore /backup/tongcha.db --keys /etc/tongcha/keys.json --yes",
		RunE: func(cmd *cobra.Command, args []string) error { return runRestore(cmd, args[0], yes, dry) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "replace the database that is there")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would happen, and change nothing")
	addKeys(cmd)
	addOutput(cmd)
	return cmd
}

func runRestore(cmd *cobra.Command, backup string, yes, dry bool) error {
	path, err := database(cmd)
	if err != nil {
		return err
	}
	if err := thereIs(backup); err != nil {
		return err
	}
	if running, err := hubRuns(cmd); err != nil || running {
		return orInUse(err)
	}
	if _, err := os.Lstat(path); err == nil && !yes && !dry {
		return usageError("there is a database at %s; give --yes to replace it (it is kept beside), or --dry-run to see what would happen", path)
	}
	keys, err := keysOf(cmd)
	if err != nil {
		return err
	}
	if keys == nil {
		return usageError("no key file: give the one the backup was made with, --keys FILE; a hub could not read the database without it")
	}
	folder, err := hubFolder(cmd)
	if err != nil {
		return err
	}
	if err := ensureFolder(folder); err != nil {
		return err
	}
	m := newMeter(cmd)
	r, err := bolt.Restore(cmd.Context(), backup, path, bolt.RestoreOptions{
		CheckOptions: bolt.CheckOptions{Keys: keys, Progress: m.tell}, DryRun: dry,
	})
	m.end()
	if err != nil {
		return dbError(err)
	}
	view := restoreView{
		File: backup, Database: path, Kept: r.Kept, DryRun: dry, PresentRead: r.Read, Open: r.Open, Cancelled: r.Cancelled, Lost: r.Lost,
		Suspended: append([]string{}, r.Suspended...), Voided: r.Voided,
	}
	return emit(cmd, view, view.table(r.Present))
}

func orInUse(err error) error {
	if err != nil {
		return err
	}
	return dbError(bolt.ErrInUse)
}

type restoreView struct {
	File        string   `json:"file"`
	Database    string   `json:"database"`
	Kept        string   `json:"kept"`
	DryRun      bool     `json:"dryRun"`
	PresentRead bool     `json:"presentRead"`
	Open        int64    `json:"ordersOpen"`
	Cancelled   int64    `json:"ordersCancelledSince"`
	Lost        int64    `json:"ordersTakenSince"`
	Suspended   []string `json:"platformsSuspendedSince"`
	Voided      int64    `json:"codesAndSessionsEnded"`
}

func (v restoreView) table(present bool) table {
	t := table{{"backup", v.File}, {"database", v.Database}}
	switch {
	case present:
		t = append(t, []string{"kept", v.Kept})
	default:
		t = append(t, []string{"kept", "nothing: there was no database"})
	}
	t = append(t,
		[]string{"open orders", fmt.Sprintf("%d, sent again under the same ids; none can be cancelled", v.Open)},
		[]string{"codes, sessions", fmt.Sprintf("%d ended; people verify once more", v.Voided)})
	if v.PresentRead {
		t = append(t,
			[]string{"cancelled since", fmt.Sprintf("%d orders, which stay so", v.Cancelled)},
			[]string{"taken since", fmt.Sprintf("%d orders, which the backup lacks: they are in the database that is kept", v.Lost)},
			[]string{"suspended since", dash(strings.Join(v.Suspended, ", "))})
	} else if present {
		t = append(t, []string{"since the backup", "unknown: the database that was there can't be read; look at `tongcha platform list` for suspensions"})
	}
	next := "start the hub, then `tongcha status`"
	if v.DryRun {
		next = "nothing was changed; to do it, give --yes in place of --dry-run"
	}
	return append(t, []string{"next", next})
}
