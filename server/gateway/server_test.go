package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/logtest"
)

func TestFixedPaths(t *testing.T) {
	var live, ready error
	s := open(t, func(o *Options) {
		o.Livez = func() error { return live }
		o.Readyz = func() error { return ready }
		o.OpenAPI = []byte(`{"swagger":"2.0"}`)
		o.ReceiptKeys = []byte(`{"keys":[]}`)
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
		o.Pages = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	}, defaultPatience)
	for path, want := range map[string]string{
		"/livez": "ok\n", "/readyz": "ok\n", "/openapi.json": `{"swagger":"2.0"}`, "/metrics": "up 1\n", "/": "page", "/dashboard": "page",
		"/.well-known/tongcha-receipt-keys.json": `{"keys":[]}`,
	} {
		if r := s.do("GET", path, ""); r.code != 200 || r.text != want {
			t.Errorf("%s: %d %q", path, r.code, r.text)
		}
	}
	if r := s.do("HEAD", "/livez", ""); r.code != 200 || r.text != "" {
		t.Errorf("HEAD: %d %q", r.code, r.text)
	}
	ready = fault.ShuttingDown.Wrap(errors.New(canary))
	if r := s.do("GET", "/readyz", ""); r.code != 503 || r.text != "SHUTTING_DOWN\n" {
		t.Errorf("readyz: %d %q", r.code, r.text)
	}
	live = errors.New(canary)
	if r := s.do("GET", "/livez", ""); r.code != 503 || r.text != "INTERNAL\n" {
		t.Errorf("livez: %d %q", r.code, r.text)
	}
	s.do("GET", "/v1/nothing", "").want(t, 404, fault.PathUnknown)
	s.do("GET", "//dashboard", "").want(t, 404, fault.PathUnknown)
	s.do("GET", "/%64ashboard", "").want(t, 404, fault.PathUnknown)
}

// The keys of receipts are for everybody to read and to keep for a while.
func TestReceiptKeys(t *testing.T) {
	s := open(t, func(o *Options) { o.ReceiptKeys = []byte(`{"keys":[]}`) }, defaultPatience)
	r := s.do("GET", ReceiptKeysPath, "")
	if r.code != 200 || r.header.Get("Content-Type") != "application/jwk-set+json" || r.header.Get("Cache-Control") != "public, max-age=3600" ||
		r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", r.code, r.header)
	}
	if r := s.do("HEAD", ReceiptKeysPath, ""); r.code != 200 || r.text != "" {
		t.Errorf("HEAD: %d %q", r.code, r.text)
	}
	s.do("POST", ReceiptKeysPath, "{}").want(t, 405, fault.MethodNotAllowed)
	for _, path := range []string{ReceiptKeysPath + "/", "/.well-known", "/.well-known/" + canary, "/v1/../.well-known/tongcha-receipt-keys.json"} {
		s.do("GET", path, "").want(t, 404, fault.PathUnknown)
	}
	openDefault(t).do("GET", ReceiptKeysPath, "").want(t, 404, fault.PathUnknown)
}

// Labels are templates, however odd the request.
func TestObserve(t *testing.T) {
	seen := make(chan string, 20)
	s := open(t, func(o *Options) {
		o.Observe = func(route string, code int, d time.Duration) {
			if d <= 0 {
				t.Error("no duration")
			}
			seen <- fmt.Sprint(route, " ", code)
		}
	}, defaultPatience)
	s.do("GET", "/v1/lookups/"+canary, "")
	s.do("GET", "/v1/lookups/"+canary+"?a="+canary, "")
	s.do("GET", "/v1/"+canary, "")
	s.do(canary[:3]+"X", "/v1/lookups", "")
	s.do("GET", "/livez", "")
	want := []string{"GET /v1/lookups/{lookupId} 200", "GET /v1/lookups/{lookupId} 400", "unknown 404", "unknown 405", "/livez 200"}
	for _, w := range want {
		if got := <-seen; got != w {
			t.Errorf("observed %q, want %q", got, w)
		}
	}
}

// certificate signs one; parent nil makes a CA.
func certificate(t *testing.T, parent *tls.Certificate, uris ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"hub"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = append(tmpl.URIs, u)
	}
	signer, signKey := tmpl, any(key)
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		signer, signKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer, &key.PublicKey, signKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// secure serves the site over TLS too, trusting clients of s.ca, and returns how
// to get there.
func (s *site) secure() (string, *tls.Config) {
	s.t.Helper()
	s.ca = certificate(s.t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.Leaf)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := Server("", s.srv.Handler, slog.New(slog.NewTextHandler(s.logs, nil)))
	srv.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{*certificate(s.t, s.ca)}, ClientCAs: pool,
		ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	}
	go func() { _ = srv.ServeTLS(lis, "", "") }()
	s.t.Cleanup(func() { _ = srv.Close() })
	return "https://" + lis.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "hub"}
}

func TestPeer(t *testing.T) {
	s := openDefault(t)
	base, config := s.secure()
	ca, other := s.ca, certificate(t, nil)
	const id = "spiffe://tongcha.test/carrier/a"
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		want []string
		fail bool
	}{
		{"none", nil, nil, false},
		{"carrier", certificate(t, ca, id), []string{id}, false},
		{"no name", certificate(t, ca), nil, false},
		{"two names", certificate(t, ca, id, "spiffe://tongcha.test/regulator/b"), nil, false},
		{"very long", certificate(t, ca, id+strings.Repeat("a", maxPeer)), nil, false},
		{"another CA", certificate(t, other, id), nil, true},
	} {
		for _, h2 := range []bool{false, true} {
			cfg := config.Clone()
			if c.cert != nil {
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
			}
			tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: h2}
			req, _ := http.NewRequest("POST", base+"/v1/lookups", strings.NewReader("{}"))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Tongcha-Peer", "spiffe://forged")
			resp, err := tr.RoundTrip(req)
			if (err != nil) != c.fail {
				t.Fatalf("%s: %v", c.name, err)
			}
			if err != nil {
				continue
			}
			_ = resp.Body.Close()
			tr.CloseIdleConnections()
			if md, _ := s.metadata(); resp.StatusCode != 200 || !slices.Equal(md.Get(peerKey), c.want) || (resp.ProtoMajor == 2) != h2 {
				t.Errorf("%s: %s %d, peer %q", c.name, resp.Proto, resp.StatusCode, md.Get(peerKey))
			}
		}
	}
}

func TestServerLimits(t *testing.T) {
	s := Server("127.0.0.1:1", http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout != 5*time.Second || s.MaxHeaderBytes != 8<<10 || s.WriteTimeout != 0 || s.IdleTimeout == 0 || s.Addr != "127.0.0.1:1" {
		t.Errorf("%+v", s)
	}
	logs := &logtest.Log{}
	e := errorLog{slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, line := range []string{
		"http: TLS handshake error from 203.0.113.9:1: EOF\n", "http: panic serving 203.0.113.9:1: " + canary + "\n",
		"http: something about 203.0.113.9\n", "http: Accept error: too many open files; retrying in 5ms\n",
	} {
		_, _ = e.Write([]byte(line))
	}
	if got := logs.String(); strings.Contains(got, "203.0.113.9") || strings.Contains(got, canary) || !strings.Contains(got, "too many open files") {
		t.Errorf("log %s", got)
	}
}
