package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"
)

// DefaultLifetime is how long a certificate lasts unless said otherwise.
const DefaultLifetime = 90 * 24 * time.Hour

// Pair is a certificate and its private key (PKCS#8), both PEM.
type Pair struct {
	CertPEM []byte
	KeyPEM  []byte
}

// TLS is the pair ready for use, with its parsed leaf.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.CertPEM, p.KeyPEM) }

// String hides the key from printers.
func (p Pair) String() string { return "pki.Pair" }

// GoString hides the key from printers.
func (p Pair) GoString() string { return "pki.Pair" }

// IssueOptions refines a certificate. The zero value suits everyone but a
// server that stock clients call by its host name.
type IssueOptions struct {
	// Hosts are DNS names and IP addresses for the DNS and IP SANs. Peers of the
	// hub don't need them; LocalHosts and the configured names make the hub's own
	// certificate acceptable to stock clients, which verify host names.
	Hosts []string
	// Lifetime is how long the certificate lasts; 0 means DefaultLifetime. It is
	// cut at the end of the authority's own certificate.
	Lifetime time.Duration
}

// LocalHosts lists the names of this machine for a hub's own certificate.
func LocalHosts() []string { return []string{"localhost", "127.0.0.1", "::1"} }

// Issue makes a certificate, for a client and a server alike, and a fresh key.
// It returns when the certificate expires.
//
// Errors: fault.RoleInvalid, fault.PlatformIDInvalid; others name the option.
func (a *Authority) Issue(role Role, id string, opts IssueOptions) (Pair, time.Time, error) {
	template, err := a.template(Identity{TrustDomain: a.trustDomain, Role: role, ID: id}, opts)
	if err != nil {
		return Pair{}, time.Time{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, time.Time{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, time.Time{}, err
	}
	pair, err := encodePair(der, key)
	return pair, template.NotAfter, err
}

func (a *Authority) template(who Identity, opts IssueOptions) (*x509.Certificate, error) {
	if err := who.valid(); err != nil {
		return nil, err
	}
	life := opts.Lifetime
	if life == 0 {
		life = DefaultLifetime
	}
	now := time.Now()
	if life < 0 || !now.Before(a.cert.NotAfter) {
		return nil, errors.New("the lifetime must be positive and the authority itself not expired")
	}
	expire := now.Add(life).UTC().Truncate(time.Second)
	if expire.After(a.cert.NotAfter) {
		expire = a.cert.NotAfter
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Tongcha"}, CommonName: string(who.Role) + " " + who.ID},
		NotBefore:             now.Add(-backdate),
		NotAfter:              expire,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: who.TrustDomain, Path: "/" + string(who.Role) + "/" + who.ID}},
	}
	return t, addHosts(t, opts.Hosts)
}

var hostForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func addHosts(t *x509.Certificate, hosts []string) error {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		if len(h) > 253 || !hostForm.MatchString(h) {
			return fmt.Errorf("%q is neither a DNS name nor an IP address", h)
		}
		t.DNSNames = append(t.DNSNames, h)
	}
	return nil
}

func encodePair(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}
