// Package pki is the hub's own certificate authority and the verification of
// peers by chain and URI SAN.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// The files of an authority inside its folder.
const (
	CertFile = "ca.pem"
	KeyFile  = "ca-key.pem"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// backdate makes a new certificate valid for peers whose clock is behind.
	backdate = 5 * time.Minute
)

// Authority signs the certificates of a hub and of everyone who talks to it. It
// is safe for concurrent use.
type Authority struct {
	cert        *x509.Certificate
	key         crypto.Signer
	trustDomain string
}

// Create makes an authority in dir, which must exist. It refuses to replace one
// (fs.ErrExist). One process at a time may use dir.
//
// The key is stored before the certificate and an authority exists once its
// certificate does, so a crash leaves a whole pair or none that Load accepts; a
// key without a certificate has signed nothing, and the next Create replaces it.
func Create(dir, trustDomain string) error {
	if !trustDomainForm.MatchString(trustDomain) {
		return errTrustDomain
	}
	if _, err := os.Lstat(filepath.Join(dir, CertFile)); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: %w", CertFile, os.ErrExist)
		}
		return err
	}
	pair, err := newAuthority(trustDomain)
	if err != nil {
		return err
	}
	if err := writeFile(dir, KeyFile, pair.KeyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(dir, CertFile, pair.CertPEM, 0o644)
}

// newAuthority makes a self-signed pair. The trust domain is kept in the
// certificate, as its URI SAN without a path.
func newAuthority(trustDomain string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Tongcha"}, CommonName: "Tongcha CA " + trustDomain},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, err
	}
	return encodePair(der, key)
}

// Load reads the authority in dir; fs.ErrNotExist where there is none. It
// refuses a key that others than its owner can read.
func Load(dir string) (*Authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, KeyFile)
	stat, err := os.Stat(keyPath)
	if errors.Is(err, os.ErrNotExist) { // not wrapped: there is half an authority, not none
		return nil, fmt.Errorf("%s has no %s beside it: restore the folder from a backup", CertFile, KeyFile)
	}
	if err != nil {
		return nil, err
	}
	if stat.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is readable by others (mode %04o): chmod 600 it, and replace the authority if it may have leaked",
			KeyFile, stat.Mode().Perm())
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	return parseAuthority(Pair{CertPEM: certPEM, KeyPEM: keyPEM})
}

func parseAuthority(pair Pair) (*Authority, error) {
	tlsPair, err := pair.TLS()
	if err != nil {
		return nil, fmt.Errorf("the authority's files: %w", err)
	}
	key, ok := tlsPair.PrivateKey.(crypto.Signer)
	cert := tlsPair.Leaf
	if !ok || !cert.IsCA || len(cert.URIs) != 1 || !trustDomainForm.MatchString(cert.URIs[0].Host) {
		return nil, fmt.Errorf("%s is no authority's certificate", CertFile)
	}
	return &Authority{cert: cert, key: key, trustDomain: cert.URIs[0].Host}, nil
}

// TrustDomain is the trust domain that the authority issues for.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Expire is when the authority's own certificate ends.
func (a *Authority) Expire() time.Time { return a.cert.NotAfter }

// CertPEM is the authority's certificate, which peers are given as their root.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Roots is a new pool that holds the authority's certificate alone.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// writeFile puts a file in place whole: written aside, flushed, renamed, and the
// folder flushed.
func writeFile(dir, name string, data []byte, mode os.FileMode) error {
	temp := filepath.Join(dir, name+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
