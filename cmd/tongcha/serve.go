package main

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/sms"
	"github.com/tongcha/tongcha/server/trace"
)

type serveFlags struct {
	http, grpc, metrics, httpCert, httpKey    string
	keys, trustDomain, id, calendar, logLevel string
	smsGateway, smsToken                      string
	hosts, carriers, proxies                  []string
	allowUnattested, acceptClock              bool
	shutdownDelay                             time.Duration
	maxLookups                                int
	orderRate                                 float64
	minFree                                   int
	trace                                     trace.Options
}

func newServe() *cobra.Command {
	cmd, f := serveCommand()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runServe(cmd, f) }
	return cmd
}

// serveCommand is `serve` without what it does: its settings alone.
func serveCommand() (*cobra.Command, *serveFlags) {
	f := new(serveFlags)
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the hub", Args: cobra.NoArgs,
		Long: "Run the hub. A setting that can't be honoured stops the start.\n\n" +
			"A first start: tongcha keys new keys.json\n" +
			"               tongcha serve --keys keys.json --sms-gateway https://sms.example/send --sms-token-file token",
	}
	s := cmd.Flags()
	s.StringVar(&f.http, "http", "127.0.0.1:8080", "address of REST; beyond this machine only with --http-cert")
	s.StringVar(&f.httpCert, "http-cert", "", "certificate (PEM) for REST over TLS")
	s.StringVar(&f.httpKey, "http-key", "", "its key (PEM)")
	s.StringVar(&f.grpc, "grpc", ":8443", "address of gRPC with mutual TLS, for platforms and regulators")
	s.StringVar(&f.metrics, "metrics", "127.0.0.1:9090", "address of /metrics, /livez and /readyz")
	s.StringVar(&f.keys, "keys", "", "key `FILE` that seals personal fields, made with: tongcha keys new FILE (required)")
	s.StringVar(&f.trustDomain, "trust-domain", "tongcha.local", "trust domain of every certificate")
	s.StringVar(&f.id, "hub-id", "hub", "this hub's id in its certificate")
	s.StringSliceVar(&f.hosts, "host", nil, "name or address to put into the hub's certificate; may be repeated")
	s.StringSliceVar(&f.carriers, "carrier", nil, "carrier that attests holders, ID=HOST:PORT; may be repeated")
	s.StringVar(&f.smsGateway, "sms-gateway", "", "URL that takes {to, text} and sends the message (required)")
	s.StringVar(&f.smsToken, "sms-token-file", "", "file with the bearer token for the gateway")
	s.StringSliceVar(&f.proxies, "trusted-proxy", nil, "network whose X-Forwarded-For is believed, such as 10.0.0.0/8; may be repeated")
	s.BoolVar(&f.allowUnattested, "allow-unattested-unbind", false, "take unbind orders also where no carrier attested the holder; they detach every account found, whoever opened it")
	s.StringVar(&f.calendar, "calendar", "", "file of holidays and working weekends, in place of the one built in")
	s.BoolVar(&f.acceptClock, "accept-clock", false, "for one start: take the machine's clock although it is over 30 days ahead of the last time the hub noted")
	s.DurationVar(&f.shutdownDelay, "shutdown-delay", 0, "how long /readyz fails before anything stops")
	s.IntVar(&f.maxLookups, "max-lookups", server.DefaultConfig().MaxLookups, "lookups that run at the same time; more are refused until some have ended")
	s.Float64Var(&f.orderRate, "order-rate", server.DefaultConfig().OrderRate, "attempts at unbind orders that may begin at one platform in a second, on average")
	addMinFree(s, &f.minFree)
	addTrace(s, &f.trace)
	s.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd, f
}

func runServe(cmd *cobra.Command, f *serveFlags) error {
	cfg, err := f.config(cmd)
	if err != nil {
		return err
	}
	if err := cfg.Check(); err != nil {
		return usageError("%w", err)
	}
	if cfg.HTTPCert == "" && len(cfg.TrustedProxies) == 0 {
		cfg.Logger.Warn("REST is without TLS and no proxy is trusted: behind a proxy everybody has the proxy's address, and all share one daily limit; give --trusted-proxy")
	}
	hub, err := server.Open(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	endWhenBroken(hub, func() { notify(cfg.Logger, "STOPPING=1") })
	ended, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-cmd.Context().Done():
		case <-ended: // by a failure, or sooner than that was seen
		}
		notify(cfg.Logger, "STOPPING=1")
	}()
	err = hub.Serve(cmd.Context(), func(a server.Addresses) {
		notify(cfg.Logger, "READY=1")
		cfg.Logger.Info("serving", "http", a.HTTP, "grpc", a.GRPC, "metrics", a.Metrics, "version", version().Version)
	})
	close(ended)
	<-told
	return err
}

// config makes the hub's configuration of the flags. Its error joins all there
// are.
func (f *serveFlags) config(cmd *cobra.Command) (server.Config, error) {
	cfg := server.DefaultConfig()
	var errs []error
	bad := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	cfg.Data, err = hubFolder(cmd)
	bad(err)
	if cfg.Logger, err = newLogger(f.logLevel); err != nil {
		bad(usageError("%w", err))
	}
	cfg.HTTP, cfg.GRPC, cfg.Metrics = f.http, f.grpc, f.metrics
	cfg.HTTPCert, cfg.HTTPKey, cfg.KeyFile = f.httpCert, f.httpKey, f.keys
	cfg.TrustDomain, cfg.ID, cfg.Hosts = f.trustDomain, f.id, f.hosts
	cfg.AllowUnattested, cfg.CalendarFile, cfg.ShutdownDelay = f.allowUnattested, f.calendar, f.shutdownDelay
	cfg.Clock = clock.Options{Elapsed: clock.SinceBoot(), Accept: f.acceptClock}
	cfg.MaxLookups, cfg.OrderRate, cfg.Trace, cfg.Version = f.maxLookups, f.orderRate, f.trace, version().Version
	cfg.MinFree = int64(f.minFree) << 20
	for _, c := range f.carriers {
		id, address, ok := strings.Cut(c, "=")
		if !ok {
			bad(usageError("--carrier must be ID=HOST:PORT"))
			continue
		}
		cfg.Carriers = append(cfg.Carriers, server.CarrierConfig{ID: id, Address: address})
	}
	for _, p := range f.proxies {
		n, err := netip.ParsePrefix(p)
		if err != nil {
			bad(usageError("--trusted-proxy must be a network such as 10.0.0.0/8"))
			continue
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, n)
	}
	switch {
	case strings.Contains(f.smsGateway, mask):
		bad(usageError("--sms-gateway holds %s, which `config print` shows in place of a secret; give the whole address", mask))
	case f.smsGateway != "":
		webhook, err := sms.NewWebhook(f.smsGateway, f.smsToken)
		if err != nil {
			bad(usageError("%w", err))
		} else {
			cfg.Sender, cfg.Notifier = webhook, webhook
		}
	}
	return cfg, errors.Join(errs...)
}
