package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
)

func newDBCheck() *cobra.Command {
	var without bool
	var temp string
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Check every page, record, secret and index of the database or a backup", Args: cobra.MaximumNArgs(1),
		Long: "Check every page, record, secret and index of the database or of a backup FILE, and change nothing.\n\n" +
			"Of a running hub a copy is checked, which is written to --temp (the data folder by default) and removed.\n" +
			"Every bucket must be known, every record readable, every secret openable with the key file; indexes and\n" +
			"orders must agree in both directions, tallies with the orders counted, histories with states. A broken order\n" +
			"is named by its id, each problem says what to do next.\n\n" +
			"Exit codes: 0 all is well, 1 something is wrong, 2 the command line is wrong, 3 a hub has the file open and does\n" +
			"not answer.",
		Example: "  tongcha db check\n  tongcha db check /backup/tongcha.db --keys /etc/tongcha/keys.json -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := keysOf(cmd)
			if err != nil {
				return err
			}
			switch {
			case without:
				keys = nil
			case keys == nil:
				return usageError("no key file: give --keys FILE, or --without-keys to check all but the secrets")
			}
			m := newMeter(cmd)
			r, file, err := checkDatabase(cmd, args, temp, m, bolt.CheckOptions{Keys: keys, Progress: m.tell})
			m.end()
			if err != nil {
				return dbError(err)
			}
			view := viewOf(file, r)
			if err := emitWith(cmd, view, view.table(), view.verdict()); err != nil {
				return err
			}
			return problemsError(r)
		},
	}
	cmd.Flags().BoolVar(&without, "without-keys", false, "leave the secrets closed")
	cmd.Flags().StringVar(&temp, "temp", "", "`FOLDER` for the copy of a running hub's database; the data folder by default")
	addKeys(cmd)
	addOutput(cmd)
	return cmd
}

// checkDatabase checks the file that was named, or the data folder's, or a copy of
// it where a hub runs.
func checkDatabase(cmd *cobra.Command, args []string, temp string, m *meter, o bolt.CheckOptions) (*bolt.Report, string, error) {
	if len(args) == 1 {
		r, err := bolt.Check(cmd.Context(), args[0], o)
		return r, args[0], errors.Join(err, thereIs(args[0]))
	}
	path, err := database(cmd)
	if err != nil {
		return nil, "", err
	}
	running, err := hubRuns(cmd)
	if err != nil {
		return nil, "", err
	}
	if !running {
		if err := thereIs(path); err != nil {
			return nil, path, err
		}
		r, err := bolt.Check(cmd.Context(), path, o)
		return r, path, err
	}
	if temp == "" {
		temp = filepath.Dir(path)
	}
	dir, err := os.MkdirTemp(temp, ".check-")
	if err != nil {
		return nil, path, usageError("--temp: %w; give a folder that can be written", err)
	}
	b, err := bolt.SaveBackup(cmd.Context(), hubSource{cmd, m}, filepath.Join(dir, "copy.db"), false, o)
	err = errors.Join(err, os.RemoveAll(dir))
	if err != nil {
		return nil, path, err
	}
	return b.Report, path + " (a copy, since a hub runs)", nil
}

type checkView struct {
	File          string        `json:"file"`
	Layout        int32         `json:"layout"`
	Current       bool          `json:"current"`
	SecretsOpened bool          `json:"secretsOpened"`
	OK            bool          `json:"ok"`
	Buckets       []checkBucket `json:"buckets"`
	Problems      []checkFlaw   `json:"problems"`
}

type checkBucket struct {
	Name     string `json:"name"`
	Records  int64  `json:"records"`
	Bytes    int64  `json:"bytes"`
	Problems int    `json:"problems"`
}

type checkFlaw struct {
	Bucket string `json:"bucket"`
	Record string `json:"record"`
	Text   string `json:"text"`
	Action string `json:"action"`
}

func viewOf(file string, r *bolt.Report) checkView {
	v := checkView{File: file, Layout: r.Layout, Current: r.Current, SecretsOpened: r.Opened, OK: r.OK(), Buckets: []checkBucket{}, Problems: []checkFlaw{}}
	shown := make(map[string]bool)
	for _, b := range r.Pages.Buckets {
		shown[b.Name] = true
		v.Buckets = append(v.Buckets, checkBucket{b.Name, b.Records, b.Bytes, r.Found[b.Name]})
	}
	for name, n := range r.Found {
		if !shown[name] && name != "" { // a bucket that is missing
			v.Buckets = append(v.Buckets, checkBucket{name, 0, 0, n})
		}
	}
	if n := r.Found[""]; n > 0 {
		v.Buckets = append(v.Buckets, checkBucket{"(file)", 0, r.Pages.FileSize, n})
	}
	for _, p := range r.Problems {
		v.Problems = append(v.Problems, checkFlaw(p))
	}
	return v
}

func (v checkView) table() table {
	t := table{{"BUCKET", "RECORDS", "BYTES", "PROBLEMS"}}
	for _, b := range v.Buckets {
		t = append(t, []string{b.Name, number(b.Records), number(b.Bytes), number(int64(b.Problems))})
	}
	return t
}

// verdict is the line below the table.
func (v checkView) verdict() string {
	note := "every page, record, secret and index"
	switch {
	case v.Layout == 0:
		note = "what could be read of a damaged file"
	case !v.Current:
		note = "an older layout: every page and record, no index; the next start of a hub migrates it"
	case !v.SecretsOpened:
		note = "every page, record and index, no secret"
	}
	verdict := "something is wrong"
	if v.OK {
		verdict = "all is well"
	}
	return "checked: " + note + "; " + verdict
}

// problemsError is nil where nothing is wrong; else its text is a line for each
// problem, with what to do.
func problemsError(r *bolt.Report) error {
	if r.OK() {
		return nil
	}
	lines := make([]string, 0, len(r.Problems))
	for _, p := range r.Problems {
		place := strings.TrimSpace(p.Bucket + " " + p.Record)
		if place == "" {
			place = "file"
		}
		lines = append(lines, platform.Harmless(place+": "+p.Text)+"; "+p.Action)
	}
	all := 0
	for _, n := range r.Found {
		all += n
	}
	if more := all - len(r.Problems); more > 0 {
		lines = append(lines, number(int64(more))+" more of the same kinds")
	}
	return errors.New(strings.Join(lines, "\ntongcha: "))
}
