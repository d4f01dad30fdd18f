package admin_test

import (
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

func shop() *adminv1.AddPlatformRequest {
	return &adminv1.AddPlatformRequest{PlatformId: "shop", Address: "127.0.0.1:9443", DisplayName: " 购物 ", Category: "网上购物"}
}

func TestPlatformsThroughTheirLife(t *testing.T) {
	d := newDesk(t)
	added, err := d.AddPlatform(t.Context(), shop())
	d.must(err)
	p := added.GetPlatform()
	if l := p.GetLoad(); l.GetBreaker() != "OPEN" || l.GetBreakerUntil() == nil || l.GetTransport() != "STREAM" || l.GetOpen() != 3 || l.GetLimit() != 64 ||
		l.GetP95AnswerMillis() != 21 || l.GetAsked() != 5 || l.GetSent() != 7 || l.GetHedged() != 1 {
		t.Errorf("load %v", l)
	}
	if p.GetState() != "JOINED" || p.GetDisplayName() != "购物" || p.GetHealth() != "SERVING" || p.GetMaxBatch() != 8 || p.GetAddTime() == nil || p.GetLastSeenTime() == nil {
		t.Errorf("added: %v", p)
	}
	_, err = d.AddPlatform(t.Context(), shop())
	d.wants("twice", err, fault.PlatformExists, "platformId")
	suspended, err := d.SuspendPlatform(t.Context(), &adminv1.SuspendPlatformRequest{PlatformId: "shop", Reason: "答复有误"})
	if p := suspended.GetPlatform(); err != nil || p.GetState() != "SUSPENDED" || p.GetSuspendReason() != "答复有误" {
		t.Errorf("suspended: %v %v", p, err)
	}
	_, err = d.SuspendPlatform(t.Context(), &adminv1.SuspendPlatformRequest{PlatformId: "shop"})
	d.wants("suspended twice", err, fault.PlatformState, "")
	resumed, err := d.ResumePlatform(t.Context(), &adminv1.ResumePlatformRequest{PlatformId: "shop"})
	if p := resumed.GetPlatform(); err != nil || p.GetState() != "JOINED" || p.GetSuspendReason() != "" {
		t.Errorf("resumed: %v %v", p, err)
	}
	_, err = d.ResumePlatform(t.Context(), &adminv1.ResumePlatformRequest{PlatformId: "shop"})
	d.wants("resumed twice", err, fault.PlatformState, "")
	got, err := d.GetPlatform(t.Context(), &adminv1.GetPlatformRequest{PlatformId: "shop"})
	if err != nil || got.GetPlatform().String() != resumed.GetPlatform().String() {
		t.Errorf("%v %v", got, err)
	}
	list, err := d.ListPlatforms(t.Context(), &adminv1.ListPlatformsRequest{})
	if err != nil || len(list.GetPlatforms()) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

func TestUnknownPlatforms(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"", "nobody", "A", "a\x00b", strings.Repeat("a", 1000)} {
		_, err := d.GetPlatform(t.Context(), &adminv1.GetPlatformRequest{PlatformId: id})
		d.wants("get", err, fault.PlatformUnknown, "platformId")
		_, err = d.SuspendPlatform(t.Context(), &adminv1.SuspendPlatformRequest{PlatformId: id})
		d.wants("suspend", err, fault.PlatformUnknown, "platformId")
		_, err = d.ResumePlatform(t.Context(), &adminv1.ResumePlatformRequest{PlatformId: id})
		d.wants("resume", err, fault.PlatformUnknown, "platformId")
	}
	d.catalogue.by["listed"] = platform.Info{Entry: platform.Entry{ID: "listed"}, Health: platform.HealthUnknown}
	got, err := d.GetPlatform(t.Context(), &adminv1.GetPlatformRequest{PlatformId: "listed"})
	if err != nil || got.GetPlatform().GetState() != "CATALOGUED" || got.GetPlatform().GetLoad() != nil || got.GetPlatform().AddTime != nil {
		t.Errorf("%v %v", got, err)
	}
}

func TestRefusedPlatforms(t *testing.T) {
	type r = adminv1.AddPlatformRequest
	d := newDesk(t)
	for what, c := range map[string]struct {
		change func(*r)
		reason fault.Reason
		field  string
	}{
		"no id":           {func(r *r) { r.PlatformId = "" }, fault.PlatformIDInvalid, "platformId"},
		"upper case":      {func(r *r) { r.PlatformId = "Shop" }, fault.PlatformIDInvalid, "platformId"},
		"a path":          {func(r *r) { r.PlatformId = "../shop" }, fault.PlatformIDInvalid, "platformId"},
		"65 characters":   {func(r *r) { r.PlatformId = strings.Repeat("a", 65) }, fault.PlatformIDInvalid, "platformId"},
		"no address":      {func(r *r) { r.Address = "" }, fault.AddressInvalid, "address"},
		"no port":         {func(r *r) { r.Address = "127.0.0.1" }, fault.AddressInvalid, "address"},
		"port 0":          {func(r *r) { r.Address = "127.0.0.1:0" }, fault.AddressInvalid, "address"},
		"port 65536":      {func(r *r) { r.Address = "127.0.0.1:65536" }, fault.AddressInvalid, "address"},
		"a port's name":   {func(r *r) { r.Address = "127.0.0.1:https" }, fault.AddressInvalid, "address"},
		"no host":         {func(r *r) { r.Address = ":9443" }, fault.AddressInvalid, "address"},
		"a URL":           {func(r *r) { r.Address = "https://shop.example" }, fault.AddressInvalid, "address"},
		"long address":    {func(r *r) { r.Address = strings.Repeat("a", 300) + ":1" }, fault.AddressInvalid, "address"},
		"no name":         {func(r *r) { r.DisplayName = " " }, fault.NameInvalid, "displayName"},
		"65-rune name":    {func(r *r) { r.DisplayName = strings.Repeat("长", 65) }, fault.NameInvalid, "displayName"},
		"bidi in it":      {func(r *r) { r.DisplayName = "a\u202eb" }, fault.NameInvalid, "displayName"},
		"a formula":       {func(r *r) { r.DisplayName = "=1+1" }, fault.NameInvalid, "displayName"},
		"a line break":    {func(r *r) { r.DisplayName = "a\nb" }, fault.NameInvalid, "displayName"},
		"no category":     {func(r *r) { r.Category = "" }, fault.CategoryInvalid, "category"},
		"unknown one":     {func(r *r) { r.Category = "购物" }, fault.CategoryInvalid, "category"},
		"category spaces": {func(r *r) { r.Category = "网上购物 " }, fault.CategoryInvalid, "category"},
	} {
		req := shop()
		c.change(req)
		_, err := d.AddPlatform(t.Context(), req)
		d.wants(what, err, c.reason, c.field)
	}
	for _, reason := range []string{strings.Repeat("长", 201), "a\x1b[31m", "a\u202eb"} {
		_, err := d.SuspendPlatform(t.Context(), &adminv1.SuspendPlatformRequest{PlatformId: "shop", Reason: reason})
		d.wants("reason", err, fault.NoteInvalid, "reason")
	}
	if len(d.catalogue.by) != 0 {
		t.Errorf("%v", d.catalogue.by)
	}
}

func TestCatalogueFails(t *testing.T) {
	d := newDesk(t)
	d.catalogue.err = fault.StoreFailed.Wrap(errors.New("commit to /secret"))
	_, err := d.AddPlatform(t.Context(), shop())
	d.wants("store", err, fault.StoreFailed, "")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	d.catalogue.err = errors.New("disk of /secret")
	_, err = d.AddPlatform(t.Context(), shop())
	d.wants("unknown", err, fault.InternalError, "")
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestPanicsDoNotEndTheHub(t *testing.T) {
	d := newDesk(t, func(d *desk) { d.orders = nil })
	_, err := d.GetQueueStats(t.Context(), &adminv1.GetQueueStatsRequest{})
	d.wants("panic", err, fault.InternalError, "")
	_, err = d.ListPlatforms(t.Context(), &adminv1.ListPlatformsRequest{})
	d.must(err)
}

func TestCertificates(t *testing.T) {
	d := newDesk(t)
	for _, role := range []string{"platform", "carrier", "regulator"} {
		resp, err := d.IssueCertificate(t.Context(), &adminv1.IssueCertificateRequest{Role: role, Id: "some.one"})
		d.must(err)
		pair, err := pki.Pair{CertPEM: resp.GetCertificatePem(), KeyPEM: resp.GetKeyPem()}.TLS()
		d.must(err)
		leaf := pair.Leaf
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(resp.GetCaPem()) {
			t.Fatal("no CA")
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
		d.must(err)
		who, err := pki.ParseIdentity(leaf)
		d.must(err)
		if want := (pki.Identity{TrustDomain: domain, Role: pki.Role(role), ID: "some.one"}); who != want || resp.GetIdentity() != "spiffe://"+domain+"/"+role+"/some.one" {
			t.Errorf("%v, %s", who, resp.GetIdentity())
		}
		if !slices.Contains(leaf.DNSNames, "localhost") || !slices.ContainsFunc(leaf.IPAddresses, net.IPv4(127, 0, 0, 1).Equal) || !slices.ContainsFunc(leaf.IPAddresses, net.IPv6loopback.Equal) {
			t.Errorf("%v %v", leaf.DNSNames, leaf.IPAddresses)
		}
		if got := resp.GetExpireTime().AsTime(); !got.Equal(leaf.NotAfter) || time.Until(got) > pki.DefaultLifetime {
			t.Errorf("expires %v, %v", got, leaf.NotAfter)
		}
		if strings.Contains(d.logs.String(), "PRIVATE KEY") || strings.Contains(d.logs.String(), string(resp.GetKeyPem()[30:60])) {
			t.Error("a key is in the log")
		}
	}
}

func TestRefusedCertificates(t *testing.T) {
	d := newDesk(t)
	for _, role := range []string{"", "hub", "operator", "Platform", "root"} {
		_, err := d.IssueCertificate(t.Context(), &adminv1.IssueCertificateRequest{Role: role, Id: "shop"})
		d.wants("role "+role, err, fault.RoleInvalid, "role")
	}
	for _, id := range []string{"", "a", "A", "a/b", "a\x00b", strings.Repeat("a", 65), "shop?x", "shop#x"} {
		_, err := d.IssueCertificate(t.Context(), &adminv1.IssueCertificateRequest{Role: "platform", Id: id})
		d.wants("id "+id, err, fault.PlatformIDInvalid, "id")
	}
}
