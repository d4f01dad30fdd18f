package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tongcha",
		Short: "通查: which accounts are bound to a phone number, and please detach them",
		Long: "通查 (Tongcha) is a hub: it proves a phone number by SMS code, asks every joined platform which\n" +
			"accounts are bound to it, and forwards unbind orders until each has an end.\n\n" +
			"Start with: tongcha dev\n\n" +
			"Every flag can also be set by an environment variable (--http-cert: TONGCHA_HTTP_CERT) or in a\n" +
			"YAML file named by --config. A flag wins over the environment, the environment over the file.\n\n" +
			"Exit codes: 0 done, 1 it failed or something needs a look, 2 the command line or a setting is wrong, 3 no hub\n" +
			"answers on the socket, or `receipt verify` lacks the key, 4 `catalogue diff` found a difference, 74 the hub could not write to its data folder.",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return applySettings(cmd) },
	}
	root.PersistentFlags().String("config", "", "YAML file with settings, one key for each flag")
	root.PersistentFlags().String("data", ".tongcha", "data folder")
	root.AddCommand(newDev(), newServe(), newPlatform(), newPeer("carrier"), newPeer("regulator"), newUnbind(), newQueue(), newCatalogue(), newCoverage(), newKeys(), newVersion())
	root.AddCommand(newConfig(), newStatus(), newDrain(), newDLQ(), newDB(), newReceipt())
	addCompletion(root)
	root.Version = version().Version
	root.SetFlagErrorFunc(misused)
	strict(root)
	return root
}

// strict makes every wrong word on a command line a usage error; a group of
// commands takes no word but theirs.
func strict(cmd *cobra.Command) {
	check := cmd.Args
	if !cmd.Runnable() {
		check = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return misused(cmd, err)
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

func misused(cmd *cobra.Command, err error) error {
	return usageError("%w; see `%s --help`", err, cmd.CommandPath())
}

// hubFolder is where in the data folder the hub keeps its own.
func hubFolder(cmd *cobra.Command) (string, error) {
	data, err := cmd.Flags().GetString("data")
	if err != nil {
		return "", err
	}
	return filepath.Join(data, "hub"), nil
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := version()
			return emit(cmd, v, table{{"VERSION", "COMMIT", "GO"}, {v.Version, v.Commit, v.Go}})
		},
	}
	addOutput(cmd)
	return cmd
}

type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// What a build says of itself where it has no version control beside it, such as
// in a container: go build -ldflags "-X main.builtVersion=… -X main.builtCommit=…".
var builtVersion, builtCommit string

func version() versionInfo {
	v := readVersion()
	if builtVersion != "" {
		v.Version = builtVersion
	}
	if builtCommit != "" {
		v.Commit = builtCommit
	}
	return v
}

func readVersion() versionInfo {
	v := versionInfo{Version: "devel", Commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if info.Main.Version != "" {
		v.Version = strings.Trim(info.Main.Version, "()")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}

// newLogger logs JSON lines with whole milliseconds, so that no chance run of
// digits in a time looks like a code.
func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, errors.New("--log-level must be debug, info, warn or error")
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindTime {
			return slog.String(a.Key, a.Value.Time().Format("2006-01-02T15:04:05.000Z07:00"))
		}
		return a
	}})), nil
}

// The exit codes.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3 // no hub answers on the socket
	exitKeyUnknown  = 3 // receipt verify has not got the key that signed
	exitDiffers     = 4 // catalogue diff found a difference
)

type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case ofDisk(err):
		return exitDisk
	}
	return exitFailure
}

// explain is the error as a person reads it: of a status its text and reason.
func explain(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return st.Message() + " (" + info.GetReason() + ")" + commandFor(info.GetReason())
		}
	}
	return st.Message()
}

// commandFor names the command that helps with an error; the hub's own text is
// written for whoever calls its API.
func commandFor(reason string) string {
	switch reason {
	case "PLATFORM_UNKNOWN":
		return "; see `tongcha platform list`"
	case "UNBIND_NOT_FOUND":
		return "; see `tongcha unbind list`"
	case "NOT_ABANDONED":
		return "; see `tongcha dlq list`"
	}
	return ""
}

// ensureFolder makes the data folder.
func ensureFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	return nil
}
