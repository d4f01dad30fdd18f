package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/store/bolt"
)

func newDBBackup() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use: "backup --out FILE", Short: "Copy the database, also while the hub runs, and check the copy", Args: cobra.NoArgs,
		Long: "Copy the database as it is at one moment, also while the hub runs, and check the copy in full.\n\n" +
			"The copy is written beside FILE under another name, read again, checked as `tongcha db check` does, and only\n" +
			"then named FILE: whatever has that name is a whole backup. Only its owner can read it.\n\n" +
			"The data in it is sealed. The key file is needed to restore it and is NOT in the backup: keep a copy of it,\n" +
			"elsewhere. Give --keys to have every secret in the copy opened as well." + dbExitCodes +
			"\nand does not answer.",
		Example: "  tongcha db backup --out /backup/tongcha-$(date +%F).db\n" +
			"  tongcha db backup --out /backup/tongcha.db --force --keys /etc/tongcha/keys.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError("--out is missing: give the file to write; see `%s --help`", cmd.CommandPath())
			}
			return runBackup(cmd, out, force)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write (required)")
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE, if it is an older backup")
	addKeys(cmd)
	addOutput(cmd)
	return cmd
}

func runBackup(cmd *cobra.Command, out string, force bool) error {
	keys, err := keysOf(cmd)
	if err != nil {
		return err
	}
	if err := notTheDatabase(cmd, out); err != nil {
		return err
	}
	if folder := filepath.Dir(out); !isFolder(folder) {
		return usageError("--out: there is no folder %s; make it, or give another", folder)
	}
	m := newMeter(cmd)
	src, err := backupSource(cmd, m)
	if err != nil {
		return err
	}
	b, err := bolt.SaveBackup(cmd.Context(), src, out, force, bolt.CheckOptions{Keys: keys, Progress: m.tell})
	m.end()
	switch {
	case errors.Is(err, bolt.ErrExists):
		return usageError("%s is there already; give another --out, or --force to replace it", out)
	case errors.Is(err, bolt.ErrNotBackup):
		return usageError("%s is no backup, or is in use, and is not replaced; give another --out", out)
	}
	if err != nil {
		return dbError(err)
	}
	view := backupView{
		File: b.Path, Bytes: b.Report.Pages.Size, Records: b.Report.Records(), SHA256: hex.EncodeToString(b.Digest[:]), Layout: b.Report.Layout,
		SecretsOpened: b.Report.Opened, Problems: len(b.Report.Problems),
	}
	if err := emit(cmd, view, view.table()); err != nil {
		return err
	}
	return problemsError(b.Report)
}

// notTheDatabase keeps a backup from taking the database's own place, which a
// restore alone does.
func notTheDatabase(cmd *cobra.Command, out string) error {
	path, err := database(cmd)
	if err != nil {
		return err
	}
	own, err := os.Stat(path)
	if err != nil {
		return nil // what is missing is said later
	}
	if there, err := os.Stat(out); err == nil && os.SameFile(own, there) {
		return usageError("%s is the database itself; give another --out", out)
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

type backupView struct {
	File          string `json:"file"`
	Bytes         int64  `json:"bytes"`
	Records       int64  `json:"records"`
	SHA256        string `json:"sha256"`
	Layout        int32  `json:"layout"`
	SecretsOpened bool   `json:"secretsOpened"`
	Problems      int    `json:"problems"`
}

func (v backupView) table() table {
	checked := "every page and record, not the secrets: give --keys to open them"
	if v.SecretsOpened {
		checked = "every page, record and secret"
	}
	return table{
		{"backup", v.File},
		{"size", fmt.Sprintf("%s, %d records", size(v.Bytes), v.Records)},
		{"sha256", v.SHA256},
		{"checked", checked},
		{"key file", "needed to restore it and NOT in it; keep a copy elsewhere"},
	}
}

// backupSource is the running hub, or the file where none runs.
func backupSource(cmd *cobra.Command, m *meter) (bolt.Source, error) {
	path, err := database(cmd)
	if err != nil {
		return nil, err
	}
	running, err := hubRuns(cmd)
	if err != nil {
		return nil, err
	}
	if running {
		return hubSource{cmd, m}, nil
	}
	return bolt.FileSource{Path: path, Progress: m.tell}, thereIs(path)
}

// hubSource is the database of the running hub.
type hubSource struct {
	cmd   *cobra.Command
	meter *meter
}

// CopyTo implements bolt.Source.
func (h hubSource) CopyTo(_ context.Context, w io.Writer) (p bolt.Pages, err error) {
	err = withConn(h.cmd, longCall, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		stream, err := adminv1.NewStoreServiceClient(conn).Backup(ctx, &adminv1.BackupRequest{})
		if err != nil {
			return err
		}
		p, err = h.receive(stream, w)
		return err
	})
	return p, err
}

func (h hubSource) receive(stream grpc.ServerStreamingClient[adminv1.BackupResponse], w io.Writer) (p bolt.Pages, err error) {
	sum := sha256.New()
	var done int64
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return p, errors.New("the hub ended before the copy did; nothing was kept, try again")
		}
		if err != nil {
			return p, err
		}
		for _, b := range resp.GetStats().GetBuckets() {
			p.Buckets = append(p.Buckets, bolt.BucketPages{Name: b.GetName(), Records: b.GetRecords()})
		}
		if s := resp.GetStats(); s != nil {
			p.Size = s.GetLiveBytes() + s.GetFreeBytes()
		}
		if want := resp.GetSha256(); want != nil {
			if !bytes.Equal(sum.Sum(nil), want) {
				return p, errors.New("what came is not what the hub sent; nothing was kept, try again")
			}
			return p, nil
		}
		_, _ = sum.Write(resp.GetData())
		if _, err := w.Write(resp.GetData()); err != nil {
			return p, fmt.Errorf("write the copy: %w", err)
		}
		done += int64(len(resp.GetData()))
		h.meter.tell("copied", done, p.Size)
	}
}
