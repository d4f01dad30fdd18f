package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// Preflight is what a look at a configuration and its files found.
type Preflight struct {
	Problems []error  // each stops a start
	Warnings []string // each is worth a look
	Notes    []string // what was not checked, or is made at the first start
}

// Preflight checks what Check does, and beyond it everything that Open would fail
// on. It opens the files but makes, changes and dials nothing, so it can be used
// beside a running hub.
func (c Config) Preflight() Preflight {
	p := &Preflight{Problems: each(c.Check())}
	if c.Data == "" {
		return *p
	}
	c.checkPorts(p)
	c.checkFolder(p)
	keys := c.checkKeys(p)
	c.checkAuthority(p)
	c.checkReceiptKeys(p)
	c.checkHTTPPair(p)
	c.checkCalendar(p)
	c.checkTraceFile(p)
	if keys != nil {
		c.checkDatabase(p, keys)
	}
	return *p
}

func (p *Preflight) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Errorf(format, args...))
}

func (p *Preflight) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Preflight) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// each takes a joined error apart.
func each(err error) []error {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return many.Unwrap()
	}
	return []error{err}
}

// checkPorts looks at what Check leaves to the listener. A free port is nothing
// to check: beside a running hub it is taken.
func (c Config) checkPorts(p *Preflight) {
	for _, a := range []struct{ flag, address string }{{"--http", c.HTTP}, {"--grpc", c.GRPC}, {"--metrics", c.Metrics}} {
		_, port, err := net.SplitHostPort(a.address)
		if err != nil {
			continue // Check said so
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			p.problem("%s: there is no such port; give one from 1 to 65535", a.flag)
		}
	}
}

// checkFolder looks whether the data folder can be written, or made where it does
// not exist yet.
func (c Config) checkFolder(p *Preflight) {
	dir := c.Data
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		switch {
		case err != nil:
			p.problem("data folder: %w; choose another with --data", err)
		case !info.IsDir():
			p.problem("data folder: %s is no folder; choose another with --data", dir)
		case syscall.Access(dir, 2) != nil: // W_OK
			p.problem("data folder: %s can't be written by this user; run as the hub's user, or give it the folder", dir)
		case dir != c.Data:
			p.note("the data folder %s is made at the first start", c.Data)
		}
		return
	}
}

// checkKeys returns the keys, or nil where there are none to check others with.
func (c Config) checkKeys(p *Preflight) *seal.Keys {
	file := c.KeyFile
	if file == "" {
		file = filepath.Join(c.Data, keysFile)
	}
	keys, err := seal.Load(file)
	switch {
	case err == nil:
		return keys
	case !errors.Is(err, fs.ErrNotExist):
		p.problem("--keys: %w", err)
	case c.KeyFile != "" || !c.MakeKeys: // Check said so
	case exists(filepath.Join(c.Data, databaseFile)):
		p.problem("%s is missing, and the database can't be read without it; put it back", file)
	default:
		p.note("the key file %s is made at the first start", file)
	}
	return nil
}

func (c Config) checkAuthority(p *Preflight) {
	if !exists(filepath.Join(c.Data, pki.CertFile)) {
		p.note("the certificate authority is made at the first start")
		return
	}
	a, err := pki.Load(c.Data)
	switch {
	case err != nil:
		p.problem("load authority: %w", err)
	case a.TrustDomain() != c.TrustDomain:
		p.problem("the authority in %s is of trust domain %q, not %q; give the one it was made with: --trust-domain %s", c.Data, a.TrustDomain(), c.TrustDomain, a.TrustDomain())
	case time.Until(a.Expire()) < caWarning:
		p.warn("the authority's certificate ends on %s: %s", a.Expire().Format(time.DateOnly), renewal("authority"))
	}
}

func (c Config) checkReceiptKeys(p *Preflight) {
	if !exists(filepath.Join(c.Data, receipt.KeyFile)) {
		p.note("the keys of receipts are made at the first start")
		return
	}
	if _, err := receipt.Load(c.Data); err != nil {
		p.problem("load receipt keys: %w", err)
	}
}

func (c Config) checkHTTPPair(p *Preflight) {
	if !exists(c.HTTPCert) || !exists(c.HTTPKey) {
		return // Check said so, or REST is without TLS
	}
	pair, err := tls.LoadX509KeyPair(c.HTTPCert, c.HTTPKey)
	switch {
	case err != nil:
		p.problem("--http-cert: %w", err)
	case time.Until(pair.Leaf.NotAfter) < leafWarning:
		p.warn("the certificate of --http-cert ends on %s: %s", pair.Leaf.NotAfter.Format(time.DateOnly), renewal("http"))
	}
}

func (c Config) checkCalendar(p *Preflight) {
	if c.CalendarFile != "" && !exists(c.CalendarFile) {
		return // Check said so
	}
	cal, err := (&Hub{cfg: c}).calendar()
	if err != nil {
		p.problem("--calendar: %w", err)
		return
	}
	if end := calendarEnd(cal, time.Now()); end.Before(time.Now().AddDate(0, 1, 0)) {
		p.warn("holidays are known only until %s; from then on Monday to Friday count as working days: give a --calendar file, or use a newer program", end.Format(time.DateOnly))
	}
}

// checkTraceFile looks whether the file of --trace can be appended to, or made.
func (c Config) checkTraceFile(p *Preflight) {
	path := c.Trace.Output
	if path == "" || path == "stdout" {
		return
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		path = filepath.Dir(path)
		if _, err := os.Stat(path); err != nil {
			p.problem("--trace: %w; give stdout or a file in a folder that exists", err)
			return
		}
	case err != nil:
		p.problem("--trace: %w; give stdout or a file that can be written", err)
		return
	case info.IsDir():
		p.problem("--trace: %s is a folder; give stdout or a file that can be written", path)
		return
	}
	if syscall.Access(path, 2) != nil { // W_OK
		p.problem("--trace: %s can't be written by this user; give stdout or a file that can be", path)
	}
}

func (c Config) checkDatabase(p *Preflight, keys *seal.Keys) {
	file := filepath.Join(c.Data, databaseFile)
	if !exists(file) {
		p.note("the database is made at the first start")
		return
	}
	err := bolt.Inspect(file, keys, bolt.WithClock(clock.New(c.Clock)))
	if err == nil {
		err = c.checkMigration(p, file, keys)
	}
	switch {
	case errors.Is(err, bolt.ErrInUse):
		p.note("the database was not checked: a running hub has it open")
	case err != nil:
		p.Problems = append(p.Problems, err)
	}
}

// checkMigration says what a start with a database of an older layout begins with.
func (c Config) checkMigration(p *Preflight, file string, keys *seal.Keys) error {
	m, older, err := bolt.MigrationOf(file, keys)
	if err != nil || !older {
		return err
	}
	p.note("the database has layout %d; the first start migrates it to %d and keeps it as it was beside it", m.From, m.To)
	if free, ok := bolt.FreeBytes(c.Data); ok && free < m.Need {
		p.problem("the database is to be migrated, which needs %d MiB free where the data folder lies, and there are %d; free some first", m.Need>>20, free>>20)
	}
	return nil
}

func exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}
