// Package server builds a hub out of its parts, runs it, and stops it in order.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/trace"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// The files of a hub's data folder.
const (
	databaseFile = "tongcha.db"
	keysFile     = "keys.json"
	socketFile   = "admin.sock"
)

// Socket is the path of the operator's socket of the hub whose data folder is
// given.
func Socket(data string) string { return filepath.Join(data, socketFile) }

// Config is everything a hub is told. Verify says whether it can be honoured.
type Config struct {
	// Data is the folder of the database, the authority and the socket.
	Data string
	// KeyFile seals personal fields. Empty means keys.json in Data, which is made
	// at the first start if MakeKeys is set.
	KeyFile  string
	MakeKeys bool
	// TrustDomain and ID name the hub: spiffe://<trust domain>/hub/<id>.
	TrustDomain string
	ID          string
	// Hosts are the names and addresses put into the hub's certificate beside
	// those of this machine, for clients that check host names.
	Hosts []string

	HTTP    string // address of REST
	GRPC    string // address of gRPC with mutual TLS
	Metrics string // address of /metrics and the probes; "" puts /metrics beside REST
	// HTTPCert and HTTPKey serve REST over TLS; client certificates of the hub's
	// authority are then taken for a caller's role.
	HTTPCert, HTTPKey string
	TrustedProxies    []netip.Prefix

	Carriers []CarrierConfig
	Sender   verify.Sender
	Notifier lookup.Notifier // nil: nobody is told that late answers are in

	Verify       verify.Limits
	ConfirmFloor time.Duration
	Lookup       lookup.Limits
	OrdersPerDay int
	// OrderRate is how many attempts at orders may begin at one platform in a
	// second, on average.
	OrderRate float64
	// AllowUnattested lets orders be made where no carrier attested the holder.
	AllowUnattested bool
	// OpenCoverage lets everybody read the coverage figures.
	OpenCoverage bool
	CalendarFile string // "" for the one built in
	// ShutdownDelay is how long /readyz fails before anything is stopped, so that
	// a load balancer turns away first.
	ShutdownDelay time.Duration
	// MaxLookups bounds the lookups that run at the same time. More are refused
	// until some have ended.
	MaxLookups int
	// MinFree is how many bytes must be free where Data lies; below it new
	// verifications, lookups and orders are refused. 0 refuses none.
	MinFree int64
	// Trace says where traces go; nowhere by default.
	Trace trace.Options
	// Clock is where the hub's time comes from. The zero value is package time;
	// production counts the machine's sleep too, with clock.SinceBoot.
	Clock clock.Options
	// Version is the program's, for the operator's view; may be "".
	Version string

	Logger *slog.Logger
}

// CarrierConfig names a carrier and where it listens.
type CarrierConfig struct {
	ID      string
	Address string
}

// DefaultConfig is production's. Addresses, the sender and the logger are still
// to be given.
func DefaultConfig() Config {
	return Config{
		TrustDomain: "tongcha.local", ID: "hub", Verify: verify.DefaultLimits(), Lookup: lookup.DefaultLimits(),
		OrdersPerDay: 20, OrderRate: unbind.DefaultPerSecond, ConfirmFloor: 150 * time.Millisecond, MaxLookups: 2000, MinFree: 64 << 20, Trace: trace.Options{Sample: 1},
	}
}

// Check reports everything that can't be honoured, each with what to do.
func (c Config) Check() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	c.checkDoors(need)
	c.checkFiles(need)
	c.checkNames(need)
	c.checkLimits(need)
	errs = append(errs, c.Trace.Check())
	return errors.Join(errs...)
}

type needFunc func(ok bool, format string, args ...any)

func (c Config) checkDoors(need needFunc) {
	need(c.Data != "", "no data folder: give --data")
	need(c.Sender != nil, "no way to send codes: give --sms-gateway")
	need(c.Logger != nil, "no logger")
	for _, a := range []struct{ flag, address string }{{"--http", c.HTTP}, {"--grpc", c.GRPC}} {
		_, _, err := net.SplitHostPort(a.address)
		need(err == nil, "%s is not HOST:PORT", a.flag)
	}
	if c.Metrics != "" {
		_, _, err := net.SplitHostPort(c.Metrics)
		need(err == nil, "--metrics is not HOST:PORT")
	}
	need((c.HTTPCert == "") == (c.HTTPKey == ""), "--http-cert and --http-key go together")
	need(c.HTTPCert != "" || loopback(c.HTTP), "--http listens beyond this machine without TLS: give --http-cert and --http-key, or listen on 127.0.0.1 behind a proxy that has TLS")
	need(c.ShutdownDelay >= 0, "--shutdown-delay must not be negative")
}

func (c Config) checkFiles(need needFunc) {
	for _, f := range []struct{ flag, path string }{{"--http-cert", c.HTTPCert}, {"--http-key", c.HTTPKey}, {"--calendar", c.CalendarFile}} {
		if f.path != "" {
			_, err := os.Stat(f.path)
			need(err == nil, "%s: %s can't be read; give a file that exists", f.flag, f.path)
		}
	}
	if c.KeyFile != "" {
		_, err := os.Stat(c.KeyFile)
		need(err == nil, "--keys: the key file %s can't be read; make one with: tongcha keys new %s", c.KeyFile, c.KeyFile)
	} else {
		need(c.MakeKeys, "no key file: give --keys, made with: tongcha keys new FILE")
	}
}

func (c Config) checkNames(need needFunc) {
	_, err := pki.ParseIdentityURI("spiffe://" + c.TrustDomain + "/hub/hub")
	need(err == nil, "--trust-domain must be 1 to 255 characters of a-z 0-9 . _ -, such as hub.example")
	_, err = platform.ParseID(c.ID)
	need(err == nil, "--hub-id must be 2 to 64 characters of a-z 0-9 . _ -")
	seen := make(map[string]bool)
	for _, k := range c.Carriers {
		_, err := platform.ParseID(k.ID)
		need(err == nil, "--carrier: a carrier's id must be 2 to 64 characters of a-z 0-9 . _ -")
		need(platform.IsAddress(k.Address), "--carrier: the address of %s must be HOST:PORT", k.ID)
		need(!seen[k.ID], "--carrier: %s is given twice; name each carrier once", k.ID)
		seen[k.ID] = true
	}
}

// checkLimits refuses a limit of 0, which would mean none, or that nothing works.
func (c Config) checkLimits(need needFunc) {
	v, l := c.Verify, c.Lookup
	need(c.OrderRate > 0 && c.OrderRate <= 10_000, "--order-rate must be above 0, at most 10000")
	need(c.MaxLookups >= 1, "--max-lookups must be at least 1")
	need(c.MinFree >= 0, "--min-free must not be negative")
	need(min(v.Tries, v.CodesPerDay, v.AddressPerDay, v.SuffixPerDay, v.SuffixPerMon, l.PerSession, l.PerNumberDay, c.OrdersPerDay,
		l.ReasksPerSecond, l.ReasksAtOnce, l.LateMessagesPerDay) > 0,
		"every limit must be at least 1; begin with DefaultConfig")
	need(min(v.Resend, v.CodeLife, v.SessionIdle, v.SessionLife, l.PlatformDeadline, l.FinalAfter, l.KeepAfterFinal, l.ReaskAfter, l.ReaskEvery) > 0 && c.ConfirmFloor >= 0,
		"every duration of a limit must be positive; begin with DefaultConfig")
}

// loopback reports whether an address is reached from this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
