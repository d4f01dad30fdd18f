package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/simulator"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

// simCarrier is the simulated carrier's id.
const simCarrier = "sim-carrier"

// The demonstration's person.
const (
	demoNumber = "13800000002"
	demoSuffix = "15002X"
)

//go:embed demo/accounts.csv
var demoAccounts string

//go:embed demo/holders.csv
var demoHolders string

//go:embed demo/catalogue.csv
var demoCatalogue []byte

func importDemo(data *simulator.Data) error {
	if _, err := data.ImportHolders(strings.NewReader(demoHolders), rowChecks()); err != nil {
		return fmt.Errorf("demonstration holders: %w", err)
	}
	if _, err := data.ImportAccounts(strings.NewReader(demoAccounts), rowChecks()); err != nil {
		return fmt.Errorf("demonstration accounts: %w", err)
	}
	return nil
}

// hasDemo reports whether the demonstration's rows were imported; those of the
// platform that never answers stay for ever.
func hasDemo(data *simulator.Data) bool {
	return len(data.Accounts("sim-silent", "+86"+demoNumber)) > 0
}

// simPlatform is a simulated platform and its place in the catalogue.
type simPlatform struct {
	simulator.Spec
	category string
	server   *simulator.Server
}

// demoPlatforms are one of each behaviour.
func demoPlatforms() []*simPlatform {
	one := func(id, name, category string, b simulator.Behaviour) *simPlatform {
		return &simPlatform{Spec: simulator.Spec{
			ID: id, DisplayName: name, Behaviour: b, SelfServiceURL: "https://" + id + ".example/account/phone",
		}, category: category}
	}
	return []*simPlatform{
		one("sim-async", "模拟出行", "网络约车", simulator.Async),
		one("sim-flapping", "模拟邮箱", "邮箱云盘", simulator.Flapping),
		one("sim-redirecting", "模拟社区", "网络社区", simulator.Redirecting),
		one("sim-refusing", "模拟支付", "网络支付", simulator.Refusing),
		one("sim-silent", "模拟论坛", "新闻资讯", simulator.Silent),
		one("sim-slow", "模拟视频", "短视频", simulator.Slow),
		one("sim-sync", "模拟商城", "网上购物", simulator.Sync),
	}
}

// absentPlatform is catalogued but has not joined.
func absentPlatform() platform.Entry {
	return platform.Entry{ID: "sim-absent", DisplayName: "模拟直播", Category: "网络直播", AddTime: time.Now()}
}

// simulation is everything dev runs beside the hub.
type simulation struct {
	carrier   *simulator.Server
	platforms []*simPlatform
	reporters []*sdk.Reporter
	ready     chan struct{}
	address   string
}

// startSimulation starts the carrier and one server for each platform, with
// certificates of the hub's own authority: the same path as in production.
func startSimulation(cfg server.Config, data *simulator.Data) (_ *simulation, err error) {
	authority, err := server.OpenAuthority(cfg.Data, cfg.TrustDomain)
	if err != nil {
		return nil, err
	}
	s := &simulation{platforms: demoPlatforms(), ready: make(chan struct{})}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	for _, id := range data.PlatformIDs() {
		if !slices.ContainsFunc(s.platforms, func(p *simPlatform) bool { return p.ID == id }) {
			s.platforms = append(s.platforms, &simPlatform{Spec: simulator.Spec{ID: id, DisplayName: id, Behaviour: simulator.Sync}, category: "实用工具"})
		}
	}
	creds, err := credentials(authority, pki.RoleCarrier, simCarrier)
	if err != nil {
		return nil, err
	}
	if s.carrier, err = simulator.StartCarrier(context.Background(), simCarrier, data, simulator.Endpoint{Credentials: creds, Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	for _, p := range s.platforms {
		if err := s.startPlatform(authority, cfg, data, p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *simulation) startPlatform(a *pki.Authority, cfg server.Config, data *simulator.Data, p *simPlatform) error {
	creds, err := credentials(a, pki.RolePlatform, p.ID)
	if err != nil {
		return err
	}
	reporter, err := sdk.NewReporter(sdk.ReporterConfig{HubAddress: "hub", PlatformID: p.ID, Credentials: creds, Dialer: s.dialHub})
	if err != nil {
		return fmt.Errorf("reporter of %s: %w", p.ID, err)
	}
	s.reporters = append(s.reporters, reporter)
	p.server, err = simulator.StartPlatform(context.Background(), p.Spec, data, simulator.Endpoint{Credentials: creds, Reporter: reporter, Logger: cfg.Logger})
	return err
}

func credentials(a *pki.Authority, role pki.Role, id string) (sdk.Credentials, error) {
	pair, _, err := a.Issue(role, id, pki.IssueOptions{})
	if err != nil {
		return sdk.Credentials{}, fmt.Errorf("certificate of %s: %w", id, err)
	}
	return sdk.Credentials{CertPEM: pair.CertPEM, KeyPEM: pair.KeyPEM, CAPEM: a.CertPEM()}, nil
}

// hubAt tells where the hub listens; call it once.
func (s *simulation) hubAt(address string) {
	s.address = address
	close(s.ready)
}

// dialHub waits until the hub listens, whose port may be chosen by the system.
func (s *simulation) dialHub(ctx context.Context, _ string) (net.Conn, error) {
	select {
	case <-s.ready:
		return new(net.Dialer).DialContext(ctx, "tcp", s.address)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join puts every simulated platform into the catalogue, at its address of this
// run. One that an operator suspended stays suspended.
func (s *simulation) join(ctx context.Context, c *server.Catalogue) error {
	listed, err := demoListings()
	if err != nil {
		return err
	}
	absent := absentPlatform()
	if old, known := c.Known(absent.ID); !known || old.Address == "" && old.Listing == (platform.Listing{}) {
		absent.Listing = listed[absent.ID]
		if err := c.Put(ctx, absent); err != nil {
			return err
		}
	}
	for _, p := range s.platforms {
		e := platform.Entry{ID: platform.ID(p.ID), DisplayName: p.DisplayName, Category: p.category, Address: p.server.Address(), SelfServiceURL: p.SelfServiceURL, AddTime: time.Now(), Listing: listed[platform.ID(p.ID)]}
		if old, known := c.Known(e.ID); known {
			e.Suspended, e.SuspendReason = old.Suspended, old.SuspendReason
			e.DisplayName, e.Category = old.DisplayName, old.Category // an imported catalogue may have changed them
		}
		if err := c.Put(ctx, e); err != nil {
			return fmt.Errorf("join %s: %w", p.ID, err)
		}
	}
	return nil
}

// demoListings is what the demonstration's catalogue says of each platform.
func demoListings() (map[platform.ID]platform.Listing, error) {
	rows, err := coverage.ParseFile(demoCatalogue)
	if err != nil {
		return nil, fmt.Errorf("demonstration catalogue: %w", err)
	}
	out := make(map[platform.ID]platform.Listing)
	for _, e := range rows {
		out[e.ID] = e.Listing
	}
	return out, nil
}

// stop ends every server; what a platform has not reported yet is asked for at
// the next start.
func (s *simulation) stop() {
	var all sync.WaitGroup
	for _, p := range s.platforms {
		if p.server != nil {
			all.Go(func() { _ = p.server.Stop() })
		}
	}
	if s.carrier != nil {
		all.Go(func() { _ = s.carrier.Stop() })
	}
	all.Wait()
	for _, r := range s.reporters {
		_ = r.Close()
	}
}
