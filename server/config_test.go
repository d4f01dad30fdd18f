package server_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
)

func TestConfigCheck(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	some := filepath.Join(t.TempDir(), "some")
	if err := os.WriteFile(some, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	type c = server.Config
	for what, row := range map[string]struct {
		change func(*c)
		wants  []string
	}{
		"no data":             {func(c *c) { c.Data = "" }, []string{"--data"}},
		"no sender":           {func(c *c) { c.Sender = nil }, []string{"--sms-gateway"}},
		"no logger":           {func(c *c) { c.Logger = nil }, []string{"logger"}},
		"no http":             {func(c *c) { c.HTTP = "" }, []string{"--http is not HOST:PORT"}},
		"http without port":   {func(c *c) { c.HTTP = "127.0.0.1" }, []string{"--http is not HOST:PORT"}},
		"no grpc":             {func(c *c) { c.GRPC = "" }, []string{"--grpc is not HOST:PORT"}},
		"metrics":             {func(c *c) { c.Metrics = "9090" }, []string{"--metrics is not HOST:PORT"}},
		"http to everybody":   {func(c *c) { c.HTTP = "0.0.0.0:8080" }, []string{"--http listens beyond", "--http-cert"}},
		"http to all of IPv6": {func(c *c) { c.HTTP = "[::]:8080" }, []string{"--http listens beyond"}},
		"http without host":   {func(c *c) { c.HTTP = ":8080" }, []string{"--http listens beyond"}},
		"http to a name":      {func(c *c) { c.HTTP = "hub.example:8080" }, []string{"--http listens beyond"}},
		"localhost's cousin":  {func(c *c) { c.HTTP = "localhost.example:8080" }, []string{"--http listens beyond"}},
		"certificate alone":   {func(c *c) { c.HTTPCert = some }, []string{"--http-cert and --http-key go together"}},
		"key alone":           {func(c *c) { c.HTTPKey = some }, []string{"--http-cert and --http-key go together"}},
		"no such certificate": {func(c *c) { c.HTTPCert, c.HTTPKey = none, some }, []string{"--http-cert: " + none}},
		"no such key":         {func(c *c) { c.HTTPCert, c.HTTPKey = some, none }, []string{"--http-key: " + none}},
		"no such calendar":    {func(c *c) { c.CalendarFile = none }, []string{"--calendar: " + none}},
		"no key file":         {func(c *c) { c.MakeKeys = false }, []string{"--keys", "tongcha keys new"}},
		"no such key file":    {func(c *c) { c.KeyFile = none }, []string{"--keys", none, "tongcha keys new"}},
		"trust domain":        {func(c *c) { c.TrustDomain = "Hub Example" }, []string{"--trust-domain"}},
		"no trust domain":     {func(c *c) { c.TrustDomain = "" }, []string{"--trust-domain"}},
		"trust domain's path": {func(c *c) { c.TrustDomain = "hub.example/platform/shop?" }, []string{"--trust-domain"}},
		"hub id":              {func(c *c) { c.ID = "HUB" }, []string{"--hub-id"}},
		"carrier's id":        {func(c *c) { c.Carriers = []server.CarrierConfig{{ID: "A b", Address: "a:1"}} }, []string{"--carrier", "id"}},
		"carrier's address":   {func(c *c) { c.Carriers = []server.CarrierConfig{{ID: "telco", Address: "telco"}} }, []string{"--carrier", "telco", "HOST:PORT"}},
		"a carrier twice": {func(c *c) {
			c.Carriers = []server.CarrierConfig{{ID: "telco", Address: "a:1"}, {ID: "telco", Address: "b:1"}}
		}, []string{"--carrier", "twice"}},
		"no orders":       {func(c *c) { c.OrderRate = 0 }, []string{"--order-rate"}},
		"no lookups":      {func(c *c) { c.MaxLookups = 0 }, []string{"--max-lookups"}},
		"trace sample":    {func(c *c) { c.Trace.Output, c.Trace.Sample = "stdout", 2 }, []string{"--trace-sample", "0 to 1"}},
		"sampled nothing": {func(c *c) { c.Trace.Sample = .5 }, []string{"--trace-sample", "--trace-otlp"}},
		"trace twice":     {func(c *c) { c.Trace.Output, c.Trace.OTLP = "stdout", "127.0.0.1:1" }, []string{"--trace", "one of them"}},
		"trace in clear":  {func(c *c) { c.Trace.OTLP = "http://collector.example:4318" }, []string{"--trace-otlp", "https"}},
		"negative delay":  {func(c *c) { c.ShutdownDelay = -1 }, []string{"--shutdown-delay"}},
		"no tries":        {func(c *c) { c.Verify.Tries = 0 }, []string{"every limit"}},
		"no daily codes":  {func(c *c) { c.Verify.CodesPerDay = 0 }, []string{"every limit"}},
		"endless suffix":  {func(c *c) { c.Verify.SuffixPerDay = 0 }, []string{"every limit"}},
		"endless orders":  {func(c *c) { c.OrdersPerDay = 0 }, []string{"every limit"}},
		"endless lookups": {func(c *c) { c.Lookup.PerNumberDay = -1 }, []string{"every limit"}},
		"no late rate":    {func(c *c) { c.Lookup.ReasksPerSecond = 0 }, []string{"every limit"}},
		"endless SMS":     {func(c *c) { c.Lookup.LateMessagesPerDay = 0 }, []string{"every limit"}},
		"no late gap":     {func(c *c) { c.Lookup.ReaskAfter = 0 }, []string{"duration"}},
		"no session":      {func(c *c) { c.Verify.SessionLife = 0 }, []string{"duration"}},
		"no deadline":     {func(c *c) { c.Lookup.PlatformDeadline = 0 }, []string{"duration"}},
		"negative floor":  {func(c *c) { c.ConfirmFloor = -time.Second }, []string{"duration"}},
	} {
		cfg := goodConfig(t.TempDir())
		row.change(&cfg)
		err := cfg.Check()
		if err == nil {
			t.Errorf("%s: nothing is wrong", what)
			continue
		}
		for _, w := range row.wants {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", what, err, w)
			}
		}
		if h, err := server.Open(t.Context(), cfg); err == nil {
			_ = h.Close()
			t.Errorf("%s: it was opened", what)
		}
		if files, err := os.ReadDir(cfg.Data); cfg.Data != "" && (err != nil || len(files) > 0) {
			t.Errorf("%s: files were made: %v %v", what, files, err)
		}
	}
}

func TestConfigCheckSaysAllAtOnce(t *testing.T) {
	err := server.Config{}.Check()
	for _, flag := range []string{"--data", "--sms-gateway", "--http", "--grpc", "--keys", "--trust-domain", "--hub-id", "limit"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%q does not name %s", err, flag)
		}
	}
}

func TestGoodConfigs(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:8080", "[::1]:8080", "127.8.8.8:1"} {
		cfg := goodConfig(t.TempDir())
		cfg.HTTP = address
		if err := cfg.Check(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// goodConfig has nothing to complain about.
func goodConfig(data string) server.Config {
	cfg := server.DefaultConfig()
	cfg.Data, cfg.MakeKeys, cfg.Logger, cfg.Sender = data, true, slog.New(slog.DiscardHandler), new(outbox)
	cfg.HTTP, cfg.GRPC, cfg.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}
