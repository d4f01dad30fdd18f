package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/connectors/simulator"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/sms"
)

// findings is what a check of settings found.
type findings struct {
	Problems []string `json:"problems"` // each stops a start
	Warnings []string `json:"warnings"`
	Notes    []string `json:"notes"`
}

func (f *findings) problem(errs ...error) {
	for _, err := range errs {
		f.Problems = append(f.Problems, err.Error())
	}
}

func newConfigValidate() *cobra.Command {
	// The settings that can't be read are collected while the flags are filled, and
	// shown with all that else is wrong.
	var unread []error
	cmd := forEach("validate", "Check the settings of `%s` without starting a hub",
		"Check every setting of `serve` (or `dev`), and every file they name, without starting a hub; a running one\n"+
			"is not disturbed. All problems are shown at once, each with what to do. Give it the flags that the hub is\n"+
			"given.\n\nExit codes: 0 the hub can start, 1 it can't, 2 the command line is wrong.",
		func(cmd *cobra.Command, of settingsOf) error {
			found := findings{Problems: []string{}, Warnings: []string{}, Notes: []string{}}
			found.problem(unread...)
			for _, name := range unknownVariables(cmd.Root()) {
				found.Warnings = append(found.Warnings, "there is no setting for the variable "+name+"; see `tongcha "+of.name+" --help`")
			}
			if !hasSettings(cmd) {
				found.Notes = append(found.Notes, "nothing else was checked: the settings of the --config file are not known")
				return found.show(cmd, of.name)
			}
			more := of.check(cmd)
			found.Problems = append(found.Problems, more.Problems...)
			found.Warnings = append(found.Warnings, more.Warnings...)
			found.Notes = append(found.Notes, more.Notes...)
			return found.show(cmd, of.name)
		})
	for _, c := range append(cmd.Commands(), cmd) {
		c.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
			unread = fillSettings(cmd)
			return nil
		}
	}
	return cmd
}

// hasSettings reports whether the --config file, if one is named, is a file of
// settings at all. Where it is not, every setting in it would be missed once more.
func hasSettings(cmd *cobra.Command) bool {
	file, problems := readSettings(cmd.Root(), cmd.Flags().Lookup("config").Value.String())
	return file != nil || len(problems) == 0
}

func (f findings) show(cmd *cobra.Command, name string) error {
	t := table{{"KIND", "FINDING"}}
	for _, one := range []struct {
		kind  string
		texts []string
	}{{"problem", f.Problems}, {"warning", f.Warnings}, {"note", f.Notes}} {
		for _, text := range one.texts {
			t = append(t, []string{one.kind, text})
		}
	}
	if len(f.Problems) == 0 {
		t = append(t, []string{"ok", "`tongcha " + name + "` can start with these settings"})
	}
	if err := emit(cmd, f, t); err != nil {
		return err
	}
	if n := len(f.Problems); n > 0 {
		return fmt.Errorf("`tongcha %s` can't start with these settings: problems found: %d", name, n)
	}
	return nil
}

func checkServe(cmd *cobra.Command, f *serveFlags) findings {
	cfg, err := f.config(cmd)
	found := preflight(cfg, err, f.smsGateway != "")
	if cfg.HTTPCert == "" && len(cfg.TrustedProxies) == 0 {
		found.Warnings = append(found.Warnings, "REST is without TLS and no proxy is trusted: behind a proxy all people share one daily limit; give --trusted-proxy")
	}
	if len(f.carriers) == 0 {
		found.Warnings = append(found.Warnings, "no carrier attests holders: "+f.withoutCarrier()+"; give --carrier")
	}
	return found
}

func checkDev(cmd *cobra.Command, f *devFlags) findings {
	var found findings
	for _, a := range []string{f.http, f.grpc} {
		if err := onlyHere(a); err != nil {
			found.problem(err)
		}
	}
	found.problem(checkRows("--accounts", f.accounts, simulator.CheckAccounts)...)
	found.problem(checkRows("--holders", f.holders, simulator.CheckHolders)...)
	folder, err := hubFolder(cmd)
	if err != nil {
		found.problem(err)
		return found
	}
	cfg, err := devConfig(f, folder, io.Discard)
	more := preflight(cfg, err, true)
	more.Problems = append(found.Problems, more.Problems...)
	return more
}

// withoutCarrier says what becomes of orders where no carrier is given.
func (f *serveFlags) withoutCarrier() string {
	if f.allowUnattested {
		return "unbinding detaches every account found, whoever opened it"
	}
	return "unbinding is refused"
}

// preflight checks a configuration that flags may have failed to make: what they
// failed to make is not missed a second time.
func preflight(cfg server.Config, flags error, hasSender bool) findings {
	var found findings
	var many interface{ Unwrap() []error }
	switch {
	case errors.As(flags, &many):
		found.problem(many.Unwrap()...)
	case flags != nil:
		found.problem(flags)
	}
	if cfg.Sender == nil && hasSender {
		cfg.Sender = sms.NewPrinter(io.Discard)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := cfg.Preflight()
	found.problem(p.Problems...)
	found.Warnings, found.Notes = p.Warnings, p.Notes
	return found
}

func checkRows(flag, path string, check func(io.Reader, simulator.Checks) error) []error {
	if path == "" {
		return nil
	}
	body, err := os.ReadFile(path)
	if err == nil {
		err = check(bytes.NewReader(body), rowChecks())
	}
	if err != nil {
		return []error{fmt.Errorf("%s %s: %w", flag, path, err)}
	}
	return nil
}
