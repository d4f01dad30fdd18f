package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/pki"
)

func credentials(t *testing.T, a *pki.Authority, role pki.Role, id string, life time.Duration) pki.Credentials {
	t.Helper()
	pair, _, err := a.Issue(role, id, pki.IssueOptions{Lifetime: life})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return pki.Fixed(cert, a.Roots())
}

// shake runs a handshake and returns the server's view and both ends' errors.
func shake(t *testing.T, client, server *tls.Config) (seen tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	srv := tls.Server(b, server)
	go func() {
		defer close(done)
		serverErr = srv.Handshake()
		if serverErr == nil {
			_, serverErr = srv.Write([]byte("x"))
		}
		_ = b.Close()
	}()
	cl := tls.Client(a, client)
	clientErr = cl.Handshake()
	if clientErr == nil {
		_, clientErr = cl.Read(make([]byte, 1)) // TLS 1.3: the server's verdict comes late
	}
	_ = a.Close()
	<-done
	return srv.ConnectionState(), clientErr, serverErr
}

func TestHandshake(t *testing.T) {
	a := authority(t)
	hub, platform := credentials(t, a, pki.RoleHub, "main", 0), credentials(t, a, pki.RolePlatform, "shop", 0)
	want := pki.Identity{TrustDomain: domain, Role: pki.RolePlatform, ID: "shop"}
	seen, clientErr, serverErr := shake(t, pki.ClientConfig(hub, want), pki.ServerConfig(platform, domain))
	if clientErr != nil || serverErr != nil {
		t.Fatal(clientErr, serverErr)
	}
	if seen.NegotiatedProtocol != "h2" || seen.Version != tls.VersionTLS13 {
		t.Errorf("%s %x", seen.NegotiatedProtocol, seen.Version)
	}
	id, err := pki.ParseIdentity(seen.PeerCertificates[0])
	if err != nil || id.String() != "spiffe://hub.example/hub/main" {
		t.Errorf("%v %v", id, err)
	}
}

func TestClientRefuses(t *testing.T) {
	a, other := authority(t), authority(t)
	hub := credentials(t, a, pki.RoleHub, "main", 0)
	want := pki.Identity{TrustDomain: domain, Role: pki.RolePlatform, ID: "shop"}
	trusting := func(c pki.Credentials) pki.Credentials { // a server that trusts the hub's authority
		c.Roots = a.Roots
		return c
	}
	for name, c := range map[string]struct {
		server  pki.Credentials
		problem string
	}{
		"another id":    {credentials(t, a, pki.RolePlatform, "shop2", 0), "another identity"},
		"another role":  {credentials(t, a, pki.RoleCarrier, "shop", 0), "another identity"},
		"the hub's own": {hub, "another identity"},
		"other CA":      {trusting(credentials(t, other, pki.RolePlatform, "shop", 0)), "another authority"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err, _ := shake(t, pki.ClientConfig(hub, want), pki.ServerConfig(c.server, domain))
			peer, ok := errors.AsType[*pki.PeerError](err)
			if !ok || !strings.Contains(peer.Error(), c.problem) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("no roots", func(t *testing.T) {
		none := pki.Credentials{Certificate: hub.Certificate, Roots: func() *x509.CertPool { return nil }}
		_, err, _ := shake(t, pki.ClientConfig(none, want), pki.ServerConfig(credentials(t, a, pki.RolePlatform, "shop", 0), domain))
		if err == nil {
			t.Error("accepted")
		}
	})
}

func TestClientRefusesByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		hub := credentials(t, a, pki.RoleHub, "main", 0)
		short := credentials(t, a, pki.RolePlatform, "shop", time.Hour)
		want := pki.Identity{TrustDomain: domain, Role: pki.RolePlatform, ID: "shop"}
		time.Sleep(2 * time.Hour)
		_, err, _ := shake(t, pki.ClientConfig(hub, want), pki.ServerConfig(short, domain))
		if err == nil || err.Error() != "its certificate has expired" {
			t.Errorf("got %v", err)
		}
	})
}

func TestServerRefuses(t *testing.T) {
	a, other := authority(t), authority(t)
	server := credentials(t, a, pki.RoleHub, "main", 0)
	want := pki.Identity{TrustDomain: domain, Role: pki.RoleHub, ID: "main"}
	foreign := credentials(t, other, pki.RolePlatform, "shop", 0)
	foreign.Roots = a.Roots
	good := pki.ClientConfig(credentials(t, a, pki.RolePlatform, "shop", 0), want)
	bare := good.Clone()
	bare.GetClientCertificate = nil
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]struct {
		client *tls.Config
		domain string
	}{
		"other CA":             {pki.ClientConfig(foreign, want), domain},
		"no certificate":       {bare, domain},
		"TLS 1.2":              {old, domain},
		"another trust domain": {good, "elsewhere.example"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := shake(t, c.client, pki.ServerConfig(server, c.domain))
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestRotation(t *testing.T) {
	a, next := authority(t), authority(t)
	current := credentials(t, a, pki.RolePlatform, "shop", 0)
	roots := a.Roots()
	rotating := pki.Credentials{Certificate: func() (*tls.Certificate, error) { return current.Certificate() }, Roots: func() *x509.CertPool { return roots }}
	want := pki.Identity{TrustDomain: domain, Role: pki.RolePlatform, ID: "shop"}
	server := pki.ServerConfig(rotating, domain)
	if _, err, _ := shake(t, pki.ClientConfig(credentials(t, a, pki.RoleHub, "main", 0), want), server); err != nil {
		t.Fatal(err)
	}
	current, roots = credentials(t, next, pki.RolePlatform, "shop", 0), next.Roots()
	if _, err, _ := shake(t, pki.ClientConfig(credentials(t, next, pki.RoleHub, "main", 0), want), server); err != nil {
		t.Fatal(err)
	}
}

func TestParseIdentity(t *testing.T) {
	for _, good := range []string{"spiffe://hub.example/hub/main", "spiffe://t/platform/a.b_c-9"} {
		u, _ := url.Parse(good)
		id, err := pki.ParseIdentity(&x509.Certificate{URIs: []*url.URL{u}})
		if err != nil || id.String() != good {
			t.Errorf("%s: %v %v", good, id, err)
		}
	}
	for _, bad := range []string{
		"", "https://td/hub/main", "spiffe://td", "spiffe://td/", "spiffe://td/hub", "spiffe://td/hub/", "spiffe://td/hub/main/",
		"spiffe://td/hub/main/x", "spiffe://td//main", "spiffe:///hub/main", "spiffe://td:1/hub/main", "spiffe://u@td/hub/main",
		"spiffe://u:p@td/hub/main", "spiffe://td/hub/main?x=1", "spiffe://td/hub/main?", "spiffe://td/hub/main#f", "spiffe://td/hub/m%61in",
		"spiffe://td/%68ub/main", "spiffe://TD/hub/main", "spiffe://td/Hub/main", "spiffe://td/person/main", "spiffe://td/hub/Main",
		"spiffe://td/hub/..", "spiffe:td/hub/main", "spiffe://[::1]/hub/main",
	} {
		u, err := url.Parse(bad)
		if err != nil {
			continue
		}
		if id, err := pki.ParseIdentity(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
			t.Errorf("%q was accepted as %v", bad, id)
		}
	}
	one, _ := url.Parse("spiffe://td/hub/main")
	for _, uris := range [][]*url.URL{nil, {one, one}} {
		if _, err := pki.ParseIdentity(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%d URIs were accepted", len(uris))
		}
	}
	if _, err := pki.ParseIdentity(nil); err == nil {
		t.Error("nil was accepted")
	}
}
