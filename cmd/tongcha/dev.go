package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/connectors/simulator"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/sms"
	"github.com/tongcha/tongcha/server/trace"
	"github.com/tongcha/tongcha/server/verify"
)

type devFlags struct {
	http, grpc, accounts, holders, logLevel string
	minFree                                 int
	trace                                   trace.Options
}

func newDev() *cobra.Command {
	cmd, f := devCommand()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runDev(cmd, f) }
	return cmd
}

// devCommand is `dev` without what it does: its settings alone.
func devCommand() (*cobra.Command, *devFlags) {
	f := new(devFlags)
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a hub with a simulated carrier and simulated platforms, on this machine only", Args: cobra.NoArgs,
		Long: "Run a hub with a simulated carrier and simulated platforms, on this machine only. Nothing needs to be\n" +
			"set up; everything lies in the data folder, and a second start goes on where the first one was.\n\n" +
			"--accounts takes a CSV file with the columns platform_id,phone_number,product,bound_at,id_suffix and\n" +
			"--holders one with phone_number,id_suffix,holder_since (times in RFC 3339). Rows are imported once: what\n" +
			"was unbound does not return. A platform_id that is new becomes one more simulated platform.",
	}
	cmd.Flags().StringVar(&f.http, "http", "127.0.0.1:8080", "address of REST, on this machine")
	cmd.Flags().StringVar(&f.grpc, "grpc", "127.0.0.1:8443", "address of gRPC with mutual TLS, on this machine")
	cmd.Flags().StringVar(&f.accounts, "accounts", "", "CSV file of accounts")
	cmd.Flags().StringVar(&f.holders, "holders", "", "CSV file of holders")
	addMinFree(cmd.Flags(), &f.minFree)
	addTrace(cmd.Flags(), &f.trace)
	cmd.Flags().StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error; logs go to standard error")
	return cmd, f
}

func runDev(cmd *cobra.Command, f *devFlags) error {
	began := time.Now()
	for _, a := range []string{f.http, f.grpc} {
		if err := onlyHere(a); err != nil {
			return err
		}
	}
	folder, err := hubFolder(cmd)
	if err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Dir(folder))
	if err != nil {
		return err
	}
	defer unlock()
	data, err := openSimulated(filepath.Join(filepath.Dir(folder), "simulated"), f, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	defer func() { _ = data.Close() }()
	cfg, err := devConfig(f, folder, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	sim, err := startSimulation(cfg, data)
	if err != nil {
		return err
	}
	defer sim.stop()
	cfg.Carriers = []server.CarrierConfig{{ID: simCarrier, Address: sim.carrier.Address()}}
	hub, err := server.Open(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	endWhenBroken(hub, nil)
	if err := sim.join(cmd.Context(), hub.Catalogue()); err != nil {
		return hub.OfDisk(errors.Join(err, hub.Close()))
	}
	return hub.Serve(cmd.Context(), func(a server.Addresses) {
		sim.hubAt(a.GRPC)
		banner{Addresses: a, Data: filepath.Dir(folder), Took: time.Since(began), Sim: sim, OwnFiles: f.accounts != "" || f.holders != "" || !hasDemo(data)}.print(cmd.OutOrStdout())
	})
}

// onlyHere keeps a hub whose codes are printed and whose figures are open away
// from the network.
func onlyHere(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usageError("an address is HOST:PORT, such as 127.0.0.1:8080")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usageError("dev listens on this machine only (127.0.0.1, ::1 or localhost); use `tongcha serve` for others")
	}
	return nil
}

// lockFolder keeps a second dev away from the folder: the simulated rows have no
// lock of their own.
func lockFolder(data string) (func(), error) {
	if err := ensureFolder(data); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another hub runs on %s; stop it first, or choose another folder with --data", data)
	}
	return func() { _ = f.Close() }, nil
}

// devConfig is production's configuration but for three demonstration defaults:
// codes are printed, another code can be had after 1 s, and the daily and
// per-address caps are out of the way.
func devConfig(f *devFlags, folder string, out io.Writer) (server.Config, error) {
	const most = 10_000
	cfg := server.DefaultConfig()
	log, err := newLogger(f.logLevel)
	if err != nil {
		return cfg, usageError("%w", err)
	}
	cfg.Data, cfg.MakeKeys, cfg.Logger = folder, true, log
	cfg.HTTP, cfg.GRPC, cfg.Trace, cfg.Version = f.http, f.grpc, f.trace, version().Version
	cfg.Clock = clock.Options{Elapsed: clock.SinceBoot(), Accept: true} // it may have lain for months
	printer := sms.NewPrinter(out)
	cfg.Sender, cfg.Notifier = printer, printer
	cfg.OpenCoverage, cfg.MinFree = true, int64(f.minFree)<<20
	cfg.Verify.Resend = time.Second
	raise(&cfg.Verify, most)
	cfg.OrdersPerDay, cfg.Lookup.PerNumberDay = most, most
	return cfg, nil
}

func raise(l *verify.Limits, most int) {
	l.CodesPerDay, l.AddressPerDay, l.SuffixPerDay, l.SuffixPerMon = most, most, most, most
}

// openSimulated opens the simulated rows and imports files, or the rows of the
// demonstration where none are given. A folder that began with other rows goes
// on with those alone.
func openSimulated(dir string, f *devFlags, out io.Writer) (*simulator.Data, error) {
	data, err := simulator.OpenData(dir)
	if err != nil {
		return nil, fmt.Errorf("simulated rows: %w", err)
	}
	if err := importAll(data, f, out); err != nil {
		return nil, errors.Join(err, data.Close())
	}
	return data, nil
}

func importAll(data *simulator.Data, f *devFlags, out io.Writer) error {
	if f.accounts == "" && f.holders == "" {
		if len(data.PlatformIDs()) > 0 && !hasDemo(data) {
			return nil
		}
		return importDemo(data)
	}
	return importFiles(data, f, out)
}

// importFiles takes in the files of --accounts and --holders. Both are checked
// before a row of either is written, so that a mistake leaves nothing behind.
func importFiles(data *simulator.Data, f *devFlags, out io.Writer) error {
	files := []struct {
		flag, path, what string
		check            func(io.Reader, simulator.Checks) error
		load             func(io.Reader, simulator.Checks) (int, error)
		body             []byte
	}{
		{"--accounts", f.accounts, "accounts", simulator.CheckAccounts, data.ImportAccounts, nil},
		{"--holders", f.holders, "holders", simulator.CheckHolders, data.ImportHolders, nil},
	}
	for i := range files {
		one := &files[i]
		if one.path == "" {
			continue
		}
		var err error
		if one.body, err = os.ReadFile(one.path); err != nil {
			return usageError("%s: %w", one.flag, err)
		}
		if err := one.check(bytes.NewReader(one.body), rowChecks()); err != nil {
			return fmt.Errorf("%s %s: %w; nothing was imported", one.flag, one.path, err)
		}
	}
	for _, one := range files {
		if one.path == "" {
			continue
		}
		n, err := one.load(bytes.NewReader(one.body), rowChecks())
		if err != nil {
			return fmt.Errorf("%s %s: %w", one.flag, one.path, err)
		}
		_, _ = fmt.Fprintf(out, "Imported %d new %s from %s.\n", n, one.what, one.path)
	}
	return nil
}

// rowChecks reads rows as the hub reads what people type.
func rowChecks() simulator.Checks {
	return simulator.Checks{
		Phone: func(s string) (string, error) {
			n, err := phone.ParseNumber(s)
			if err != nil {
				return "", errors.New("not an 11-digit mainland mobile number")
			}
			return n.E164(), nil
		},
		Suffix: func(s string) (string, error) {
			x, err := phone.ParseIDSuffix(phone.ResidentID, s)
			if err != nil {
				return "", errors.New("not the last 6 characters of an 18-digit ID")
			}
			return x.Reveal(), nil
		},
	}
}
