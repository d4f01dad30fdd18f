// Package sdktest runs a platform's handler over the real wire inside a test:
// mutual TLS with certificates made on the spot, over a listener in memory.
package sdktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// TrustDomain is the trust domain of every certificate made here.
const TrustDomain = "test.tongcha"

// Authority is a certificate authority that lives for one test. Its
// certificates are valid from an hour before its making to a year after; in a
// testing/synctest bubble make it inside, as the clock there starts in 2000.
type Authority struct {
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ca   []byte
}

// NewAuthority makes an authority.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, key: newKey(tb)}
	tmpl := template(tb, "Test CA")
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// Issue makes credentials for a role and id, good for both ends of a connection.
func (a *Authority) Issue(role sdk.Role, id string) sdk.Credentials {
	a.tb.Helper()
	return a.IssueURIs(sdk.Identity{TrustDomain: TrustDomain, Role: role, ID: id}.String())
}

// IssueURIs makes credentials with exactly these URI SANs, also wrong ones.
func (a *Authority) IssueURIs(uris ...string) sdk.Credentials {
	a.tb.Helper()
	tmpl := template(a.tb, "Test leaf")
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			a.tb.Fatal(err)
		}
		tmpl.URIs = append(tmpl.URIs, u)
	}
	key := newKey(a.tb)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.tb.Fatal(err)
	}
	return sdk.Credentials{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		CAPEM:   a.ca,
	}
}

func template(tb testing.TB, name string) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// clientTLS trusts any server: what a test examines is whom the server lets in.
func clientTLS(tb testing.TB, c sdk.Credentials) *tls.Config {
	tb.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	if len(c.CertPEM) > 0 {
		cert, err := tls.X509KeyPair(c.CertPEM, c.KeyPEM)
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

// hubTLS asks for a certificate of the same authority, as a hub does.
func hubTLS(tb testing.TB, c sdk.Credentials) *tls.Config {
	tb.Helper()
	cfg := clientTLS(tb, c)
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.ClientCAs = x509.NewCertPool()
	cfg.ClientCAs.AppendCertsFromPEM(c.CAPEM)
	return cfg
}
