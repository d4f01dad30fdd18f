package sdk

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Role is what a certificate's holder does in a federation.
type Role string

// The roles a certificate can name.
const (
	RoleHub      Role = "hub"
	RolePlatform Role = "platform"
	RoleCarrier  Role = "carrier"
)

// Identity is what a certificate says of its holder, in its one URI SAN:
// spiffe://<trust-domain>/<role>/<id>.
type Identity struct {
	TrustDomain string
	Role        Role
	ID          string
}

// String returns the URI.
func (i Identity) String() string {
	return "spiffe://" + i.TrustDomain + "/" + string(i.Role) + "/" + i.ID
}

// IdentityOf reads the identity of a certificate. It does not verify the chain.
// A certificate with no URI SAN or with several has no identity.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate has %d URI SANs, want exactly one", len(cert.URIs))
	}
	return parseIdentity(cert.URIs[0])
}

func parseIdentity(u *url.URL) (Identity, error) {
	bad := errors.New("the certificate's URI SAN is not spiffe://<trust-domain>/<role>/<id>")
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if u.Scheme != "spiffe" || u.Host == "" || u.Port() != "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || len(parts) != 2 {
		return Identity{}, bad
	}
	if parts[0] == "" || !validID(parts[1]) {
		return Identity{}, bad
	}
	return Identity{TrustDomain: u.Host, Role: Role(parts[0]), ID: parts[1]}, nil
}

// Credentials are a certificate with its key, and the CA that its peers'
// certificates come from, all as PEM.
type Credentials struct {
	CertPEM, KeyPEM, CAPEM []byte
}

// ReadCredentials reads the three files that `tongcha platform cert` writes.
func ReadCredentials(certFile, keyFile, caFile string) (Credentials, error) {
	var c Credentials
	for _, f := range []struct {
		what, path string
		into       *[]byte
	}{{"CertFile", certFile, &c.CertPEM}, {"KeyFile", keyFile, &c.KeyPEM}, {"CAFile", caFile, &c.CAPEM}} {
		if f.path == "" {
			return Credentials{}, fmt.Errorf("%s is required", f.what)
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return Credentials{}, fmt.Errorf("%s: %w", f.what, err)
		}
		*f.into = b
	}
	return c, nil
}

// material is credentials made ready for use.
type material struct {
	cert tls.Certificate
	self Identity
	ca   *x509.CertPool
}

// parse checks that the certificate names this role and id and belongs to the
// CA, so that a mix-up shows at the start and not at the first call.
func (c Credentials) parse(role Role, id string) (material, error) {
	cert, err := tls.X509KeyPair(c.CertPEM, c.KeyPEM)
	if err != nil {
		return material{}, fmt.Errorf("certificate and key: %w", err)
	}
	m := material{cert: cert, ca: x509.NewCertPool()}
	if err := addCAs(m.ca, c.CAPEM); err != nil {
		return material{}, err
	}
	m.self, err = IdentityOf(cert.Leaf)
	if err != nil {
		return material{}, err
	}
	if m.self.Role != role || m.self.ID != id {
		return material{}, fmt.Errorf("the certificate is for %s %q, want %s %q", m.self.Role, m.self.ID, role, id)
	}
	chain := make([]*x509.Certificate, 0, len(cert.Certificate))
	for _, der := range cert.Certificate {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return material{}, fmt.Errorf("certificate chain: %w", err)
		}
		chain = append(chain, x)
	}
	if err := verifyChain(chain, m.ca, x509.ExtKeyUsageAny); err != nil {
		return material{}, fmt.Errorf("own certificate: %w", err)
	}
	return m, nil
}

func addCAs(pool *x509.CertPool, bundle []byte) error {
	n := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return errors.New("the CA bundle holds something that is not a certificate")
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("CA bundle: %w", err)
		}
		pool.AddCert(ca)
		n++
	}
	if n == 0 {
		return errors.New("the CA bundle holds no certificate")
	}
	return nil
}

// serverTLS is for a server whose callers must all be of the peer's role.
func (m material) serverTLS(peer Role) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{m.cert},
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection:       m.verifyPeer(peer, x509.ExtKeyUsageClientAuth),
		SessionTicketsDisabled: true, // every connection shows its certificate again
	}
}

// clientTLS is for a client whose server must be of the peer's role. The name
// in the address proves nothing here: the URI SAN is what is verified, by
// VerifyConnection, which runs although the stock check of DNS names is off.
func (m material) clientTLS(peer Role) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{m.cert},
		InsecureSkipVerify: true,
		VerifyConnection:   m.verifyPeer(peer, x509.ExtKeyUsageServerAuth),
	}
}

// verifyPeer accepts a peer whose chain ends at the CA and whose one URI SAN
// names the role within this side's own trust domain.
func (m material) verifyPeer(role Role, use x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if err := verifyChain(cs.PeerCertificates, m.ca, use); err != nil {
			return fmt.Errorf("peer: %w", err)
		}
		id, err := IdentityOf(cs.PeerCertificates[0])
		if err != nil {
			return fmt.Errorf("peer: %w", err)
		}
		if id.Role != role || id.TrustDomain != m.self.TrustDomain {
			return fmt.Errorf("peer: the certificate is not for a %s of this trust domain", role)
		}
		return nil
	}
}

func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, use x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use},
	})
	return err
}
