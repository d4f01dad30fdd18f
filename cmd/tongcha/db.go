package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
)

func newDB() *cobra.Command {
	cmd := &cobra.Command{
		Use: "db", Short: "Check, back up, restore and compact the database",
		Long: "Check, back up, restore and compact the database of the data folder.\n\n" +
			"  tongcha db backup --out /backup/tongcha.db      # while the hub runs\n" +
			"  tongcha db check /backup/tongcha.db --keys keys.json\n\n" +
			"The database holds sealed data: without the key file it can't be read, and the key file is in no backup.\n" +
			"docs/operations.md has a schedule and a drill.",
	}
	cmd.AddCommand(newDBBackup(), newDBCheck(), newDBRestore(), newDBCompact(), newDBStats())
	return cmd
}

const dbExitCodes = "\n\nExit codes: 0 done, 1 it failed or something is wrong, 2 the command line is wrong, 3 a hub has the file open"

// dbError gives errors of the database their exit codes.
func dbError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolt.ErrInUse):
		return &exitError{code: exitUnreachable, err: fmt.Errorf("%w; stop the hub first", err)}
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; nothing was changed")
	}
	return err
}

// database is the path of the data folder's database.
func database(cmd *cobra.Command) (string, error) {
	folder, err := hubFolder(cmd)
	return server.Database(folder), err
}

// hubRuns reports whether a hub answers at the data folder's socket.
func hubRuns(cmd *cobra.Command) (bool, error) {
	folder, err := hubFolder(cmd)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	conn, err := admin.Dial(ctx, server.Socket(folder))
	if err != nil {
		return false, nil
	}
	return true, conn.Close()
}

func addKeys(cmd *cobra.Command) {
	cmd.Flags().String("keys", "", "key `FILE` that the database was made with; else keys.json of the data folder, if there is one")
}

// keysOf loads the keys of --keys, else those of the data folder; nil where there
// are none.
func keysOf(cmd *cobra.Command) (*seal.Keys, error) {
	file, err := cmd.Flags().GetString("keys")
	if err != nil {
		return nil, err
	}
	if file != "" {
		keys, err := seal.Load(file)
		if err != nil {
			return nil, usageError("--keys: %w", err)
		}
		return keys, nil
	}
	folder, err := hubFolder(cmd)
	if err != nil {
		return nil, err
	}
	keys, err := seal.Load(server.KeyFile(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

// longCall bounds what is asked of a hub about all of its database; the hub has
// limits of its own.
const longCall = 12 * time.Hour

func newDBStats() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stats [FILE]", Short: "Count records and pages, and say whether compaction pays", Args: cobra.MaximumNArgs(1),
		Long: "Count the records and pages of the database, of a running hub or of a file that no hub has open.\n\n" +
			"Pages that hold nothing are used again by later writes; only `tongcha db compact` gives them back to the disk." + dbExitCodes +
			"\nand does not answer.",
		Example: "  tongcha db stats\n  tongcha db stats /backup/tongcha.db -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := storeStats(cmd, args)
			if err != nil {
				return dbError(err)
			}
			return emitWith(cmd, s, storeTable(s), storeVerdict(s))
		},
	}
	addOutput(cmd)
	return cmd
}

// storeStats asks the running hub, or reads the file.
func storeStats(cmd *cobra.Command, args []string) (*adminv1.StoreStats, error) {
	path, err := database(cmd)
	if err != nil {
		return nil, err
	}
	running, err := hubRuns(cmd)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 && running {
		var s *adminv1.StoreStats
		err := withConn(cmd, longCall, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			resp, err := adminv1.NewStoreServiceClient(conn).GetStoreStats(ctx, &adminv1.GetStoreStatsRequest{})
			s = resp.GetStats()
			return err
		})
		return s, err
	}
	if len(args) == 1 {
		path = args[0]
	}
	if err := thereIs(path); err != nil {
		return nil, err
	}
	m := newMeter(cmd)
	p, err := bolt.PagesOf(cmd.Context(), path, m.tell)
	m.end()
	return server.StoreStats(p), err
}

// thereIs is an error that says what to do where there is no file.
func thereIs(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return usageError("there is no database at %s; give its data folder with --data (or TONGCHA_DATA), or a file", path)
	}
	return nil
}

func storeTable(s *adminv1.StoreStats) table {
	t := table{{"BUCKET", "RECORDS", "BYTES", "DEPTH", "BRANCH PAGES", "LEAF PAGES", "USED", "ALLOCATED", "FILL"}}
	for _, b := range s.GetBuckets() {
		t = append(t, []string{
			b.GetName(), number(b.GetRecords()), number(b.GetBytes()), number(int64(b.GetDepth())), number(b.GetBranchPages()), number(b.GetLeafPages()),
			size(b.GetUsedBytes()), size(b.GetAllocatedBytes()), fill(b.GetUsedBytes(), b.GetAllocatedBytes()),
		})
	}
	return t
}

// storeVerdict is the line below the table.
func storeVerdict(s *adminv1.StoreStats) string {
	pays := bolt.CompactionPays(s.GetLiveBytes()+s.GetFreeBytes(), s.GetFreeBytes())
	return fmt.Sprintf("file %s, in use %s, free %s; compaction pays: %s", size(s.GetFileBytes()), size(s.GetLiveBytes()), size(s.GetFreeBytes()), yes(pays))
}

// emitWith is emit with a line below the table.
func emitWith(cmd *cobra.Command, v any, t table, below string) error {
	if err := emit(cmd, v, t); err != nil {
		return err
	}
	if form, err := cmd.Flags().GetString("output"); err != nil || form != "table" {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "\n"+below)
	return err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func fill(used, allocated int64) string {
	if allocated == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", 100*used/allocated)
}
