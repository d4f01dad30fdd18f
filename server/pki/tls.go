package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// Credentials are what one side presents and whom it trusts. Both functions are
// called at every handshake, so that leaves and roots can be rotated under load;
// they must be safe for concurrent use and not block.
type Credentials struct {
	Certificate func() (*tls.Certificate, error)
	Roots       func() *x509.CertPool
}

// Fixed gives credentials that never change.
func Fixed(cert tls.Certificate, roots *x509.CertPool) Credentials {
	return Credentials{
		Certificate: func() (*tls.Certificate, error) { return &cert, nil },
		Roots:       func() *x509.CertPool { return roots },
	}
}

// PeerError is why a peer's certificate was refused, in our own words: nothing
// of the peer's is in it, so it may be logged and shown.
type PeerError struct {
	Problem string
	cause   error
}

// Error is the problem.
func (e *PeerError) Error() string { return e.Problem }

// Unwrap returns the cause, whose text may repeat the peer's certificate.
func (e *PeerError) Unwrap() error { return e.cause }

// ClientConfig is for calling the one peer named want: TLS 1.3, h2, the peer's
// chain and URI SAN verified at every handshake. The address dialled and DNS
// SANs play no part. Handshakes fail with *PeerError where the peer is refused.
func ClientConfig(creds Credentials, want Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"}, // grpc refuses a peer that didn't agree on it
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return creds.Certificate()
		},
		// Host names are not verified; VerifyConnection does all that is skipped
		// here, and more. There is no ClientSessionCache, so no session resumes
		// past it.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := verify(cs, creds.Roots(), x509.ExtKeyUsageServerAuth)
			if err == nil && got != want {
				err = &PeerError{Problem: "its certificate belongs to another identity"}
			}
			return err
		},
	}
}

// ServerConfig is for being called by anyone of the trust domain, whatever the
// role; who it was is ParseIdentity of the connection's first certificate. A
// client certificate is required. TLS 1.3, h2, no session tickets, so that every
// connection proves itself anew.
func ServerConfig(creds Credentials, trustDomain string) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return creds.Certificate() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := verify(cs, creds.Roots(), x509.ExtKeyUsageClientAuth)
			if err == nil && got.TrustDomain != trustDomain {
				err = &PeerError{Problem: "its certificate is of another trust domain"}
			}
			return err
		},
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.ClientCAs = creds.Roots()
		return c, nil
	}
	return base
}

// verify checks the chain and reads the identity.
func verify(cs tls.ConnectionState, roots *x509.CertPool, usage x509.ExtKeyUsage) (Identity, error) {
	if len(cs.PeerCertificates) == 0 {
		return Identity{}, &PeerError{Problem: "it presented no certificate"}
	}
	if roots == nil { // nil would mean the system's roots
		return Identity{}, &PeerError{Problem: "no root is configured here"}
	}
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   time.Now(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return Identity{}, &PeerError{Problem: chainProblem(err, leaf), cause: err}
	}
	id, err := ParseIdentity(leaf)
	if err != nil {
		return Identity{}, &PeerError{Problem: "its certificate has no valid identity", cause: err}
	}
	return id, nil
}

func chainProblem(err error, leaf *x509.Certificate) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case invalid.Reason == x509.Expired && time.Now().Before(leaf.NotBefore):
			return "its certificate is not valid yet"
		case invalid.Reason == x509.Expired:
			return "its certificate has expired"
		}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is from another authority"
	}
	return "its certificate is not valid"
}
