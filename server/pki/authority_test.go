package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
)

const domain = "hub.example"

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Create(dir, domain); err != nil {
		t.Fatal(err)
	}
	a, err := pki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leafOf(t *testing.T, p pki.Pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.CertPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCreateThenLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load of nothing: %v", err)
	}
	if err := pki.Create(dir, domain); err != nil {
		t.Fatal(err)
	}
	a, err := pki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.TrustDomain() != domain {
		t.Errorf("trust domain %q", a.TrustDomain())
	}
	if left := time.Until(a.Expire()); left < 3640*24*time.Hour || left > 3660*24*time.Hour {
		t.Errorf("expires in %v", left)
	}
	if err := pki.Create(dir, domain); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	stat, err := os.Stat(filepath.Join(dir, pki.KeyFile))
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", stat.Mode(), err)
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 2 {
		t.Errorf("files left: %v", files)
	}
}

func TestCreateAfterACrash(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{pki.KeyFile, pki.KeyFile + ".new", pki.CertFile + ".new"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pki.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load of a half: %v", err)
	}
	if err := pki.Create(dir, domain); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Load(dir); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"readable key": func(dir string) error { return os.Chmod(filepath.Join(dir, pki.KeyFile), 0o640) },
		"no key":       func(dir string) error { return os.Remove(filepath.Join(dir, pki.KeyFile)) },
		"other key": func(dir string) error {
			other := filepath.Join(dir, "other")
			if err := errors.Join(os.Mkdir(other, 0o700), pki.Create(other, domain)); err != nil {
				return err
			}
			return os.Rename(filepath.Join(other, pki.KeyFile), filepath.Join(dir, pki.KeyFile))
		},
		"a leaf": func(dir string) error {
			a, err := pki.Load(dir)
			if err != nil {
				return err
			}
			p, _, err := a.Issue(pki.RoleHub, "main", pki.IssueOptions{})
			return errors.Join(err,
				os.WriteFile(filepath.Join(dir, pki.CertFile), p.CertPEM, 0o644),
				os.WriteFile(filepath.Join(dir, pki.KeyFile), p.KeyPEM, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(pki.Create(dir, domain), spoil(dir)); err != nil {
				t.Fatal(err)
			}
			_, err := pki.Load(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), dir) {
				t.Errorf("the error names a path: %v", err)
			}
		})
	}
}

func TestCreateRefusesTrustDomains(t *testing.T) {
	for _, td := range []string{"", "Hub", "hub:1", "a b", "-a", "a-", "a/b", strings.Repeat("a", 256)} {
		if err := pki.Create(t.TempDir(), td); err == nil {
			t.Errorf("%q was accepted", td)
		}
	}
}

func TestIssue(t *testing.T) {
	a := authority(t)
	pair, expire, err := a.Issue(pki.RoleHub, "main", pki.IssueOptions{Hosts: append(pki.LocalHosts(), "hub.example.cn")})
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, pair)
	if !leaf.NotAfter.Equal(expire) || time.Until(expire) < 89*24*time.Hour || time.Until(expire) > 90*24*time.Hour {
		t.Errorf("expires %v, leaf %v", expire, leaf.NotAfter)
	}
	if back := time.Since(leaf.NotBefore); back < 2*time.Minute || back > time.Hour {
		t.Errorf("backdated by %v", back)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "hub.example.cn"} {
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			opts := x509.VerifyOptions{Roots: a.Roots(), DNSName: host, KeyUsages: []x509.ExtKeyUsage{use}}
			if _, err := leaf.Verify(opts); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if got := leaf.URIs[0].String(); len(leaf.URIs) != 1 || got != "spiffe://hub.example/hub/main" {
		t.Errorf("URIs %v", leaf.URIs)
	}
	if block, _ := pem.Decode(pair.KeyPEM); block.Type != "PRIVATE KEY" {
		t.Errorf("key type %s", block.Type)
	}
	if s := fmt.Sprintf("%v %+v %#v", pair, pair, pair); strings.Contains(s, "PRIVATE") || len(s) > 60 {
		t.Errorf("prints %q", s)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t)
	for _, c := range []struct {
		role pki.Role
		id   string
		opts pki.IssueOptions
		want error
	}{
		{"person", "main", pki.IssueOptions{}, fault.RoleInvalid},
		{pki.RolePlatform, "", pki.IssueOptions{}, fault.PlatformIDInvalid},
		{pki.RolePlatform, "A1", pki.IssueOptions{}, fault.PlatformIDInvalid},
		{pki.RolePlatform, "../hub", pki.IssueOptions{}, fault.PlatformIDInvalid},
		{pki.RoleHub, "main", pki.IssueOptions{Hosts: []string{"a b"}}, nil},
		{pki.RoleHub, "main", pki.IssueOptions{Hosts: []string{""}}, nil},
		{pki.RoleHub, "main", pki.IssueOptions{Lifetime: -1}, nil},
	} {
		_, _, err := a.Issue(c.role, c.id, c.opts)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s %q %v: %v", c.role, c.id, c.opts, err)
		}
	}
	_, expire, err := a.Issue(pki.RoleHub, "main", pki.IssueOptions{Lifetime: 20 * 365 * 24 * time.Hour})
	if err != nil || expire.After(a.Expire()) {
		t.Errorf("outlives its authority: %v %v", expire, err)
	}
}
