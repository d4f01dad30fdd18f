package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/pki"
)

// The kinds of caller that a method may be for.
const (
	atGateway   = "at the gateway"
	withSession = "with a session"
	asMember    = "a member"
	asOversight = "oversight"
	everybody   = "everybody"
)

// allowed says for every method who may call it. A method without a row fails.
var allowed = map[string]string{
	"/tongcha.hub.v1.CatalogueService/GetConsent":                    atGateway,
	"/tongcha.hub.v1.CatalogueService/ListPlatforms":                 atGateway,
	"/tongcha.hub.v1.VerificationService/CreateVerification":         atGateway,
	"/tongcha.hub.v1.VerificationService/ConfirmVerification":        atGateway,
	"/tongcha.hub.v1.LookupService/CreateLookup":                     withSession,
	"/tongcha.hub.v1.LookupService/GetLookup":                        withSession,
	"/tongcha.hub.v1.LookupService/WatchLookup":                      withSession,
	"/tongcha.hub.v1.UnbindService/CreateUnbinds":                    withSession,
	"/tongcha.hub.v1.UnbindService/ListUnbinds":                      withSession,
	"/tongcha.hub.v1.UnbindService/GetUnbind":                        withSession,
	"/tongcha.hub.v1.UnbindService/CancelUnbind":                     withSession,
	"/tongcha.hub.v1.UnbindService/AppealUnbind":                     withSession,
	"/tongcha.hub.v1.MembershipService/ReportUnbind":                 asMember,
	"/tongcha.hub.v1.MembershipService/CheckNumber":                  asMember,
	"/tongcha.oversight.v1.CoverageService/GetCoverage":              asOversight,
	"/tongcha.oversight.v1.CoverageService/ListPlatformCoverage":     asOversight,
	"/tongcha.oversight.v1.CoverageService/GetUnbindCoverage":        asOversight,
	"/tongcha.oversight.v1.CoverageService/GetRefusals":              asOversight,
	"/grpc.health.v1.Health/Check":                                   everybody,
	"/grpc.health.v1.Health/List":                                    everybody,
	"/grpc.health.v1.Health/Watch":                                   everybody,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      everybody,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": everybody,
}

// cell is one kind of caller.
type cell struct {
	name string
	conn *grpc.ClientConn
	ctx  context.Context
	is   []string
}

func (w *world) cells() []cell {
	p := w.person()
	said := func(uri string) context.Context {
		return metadata.AppendToOutgoingContext(w.Context(), "x-tongcha-peer", uri)
	}
	return []cell{
		{"gateway without token", w.gateway, w.Context(), []string{atGateway}},
		{"gateway with session", w.gateway, p.ctx, []string{atGateway, withSession}},
		{"gateway with a wrong token", w.gateway, w.bearer(strings.Repeat("A", 43)).ctx, []string{atGateway}},
		{"gateway with another scheme", w.gateway, metadata.AppendToOutgoingContext(w.Context(), "authorization", "Basic "+p.token), []string{atGateway}},
		{"platform at the gateway", w.gateway, said("spiffe://" + domain + "/platform/shop"), []string{atGateway, asMember}},
		{"regulator at the gateway", w.gateway, said("spiffe://" + domain + "/regulator/miit"), []string{atGateway, asOversight}},
		{"nonsense at the gateway", w.gateway, said("spiffe://" + domain + "/regulator/miit?x"), []string{atGateway}},
		{"platform", w.as(pki.RolePlatform, "shop"), w.Context(), []string{asMember}},
		{"platform with a session's token", w.as(pki.RolePlatform, "shop"), p.ctx, []string{asMember}},
		{"platform that never joined", w.as(pki.RolePlatform, "stranger"), w.Context(), nil},
		{"platform that is catalogued alone", w.as(pki.RolePlatform, "idle"), w.Context(), nil},
		{"carrier", w.as(pki.RoleCarrier, "shop"), w.Context(), nil},
		{"regulator", w.as(pki.RoleRegulator, "shop"), w.Context(), []string{asOversight}},
		{"operator", w.as(pki.RoleOperator, "shop"), w.Context(), []string{asOversight}},
		{"hub", w.as(pki.RoleHub, "main"), w.Context(), nil},
	}
}

func TestAuthorisationTable(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		cells := w.cells()
		for _, s := range []*grpc.Server{w.inner, w.outer} {
			for service, info := range s.GetServiceInfo() {
				for _, m := range info.Methods {
					method := "/" + service + "/" + m.Name
					if allowed[method] == "" {
						w.Errorf("%s has no row in the table", method)
						continue
					}
					for _, c := range cells {
						if (c.conn == w.gateway) == (s == w.inner) {
							w.checkCell(c, method, m)
						}
					}
				}
			}
		}
	})
}

func (w *world) checkCell(c cell, method string, m grpc.MethodInfo) {
	w.Helper()
	need := allowed[method]
	got := w.tell(call(c, method, m))
	want := ""
	switch {
	case need == everybody || slices.Contains(c.is, need):
	case need == withSession && c.conn == w.gateway:
		want = "SESSION_INVALID"
	default:
		want = "ROLE_DENIED"
	}
	refused := ""
	if slices.Contains([]string{"SESSION_INVALID", "ROLE_DENIED", "METHOD_UNKNOWN", "INTERNAL"}, got.reason) || got.code == codes.Unavailable {
		refused = got.reason
	}
	if refused != want {
		w.Errorf("%s as %s: %v %q, want %q", method, c.name, got.code, got.reason, want)
	}
}

// call calls a method with an empty message and returns the error of its first
// answer.
func call(c cell, method string, m grpc.MethodInfo) error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	if !m.IsClientStream && !m.IsServerStream {
		return c.conn.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty))
	}
	s, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := s.SendMsg(new(emptypb.Empty)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(new(emptypb.Empty))
}

func TestUnknownMethods(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var methods []string
		w.observed = func(method, _ string) { methods = append(methods, method) }
		w.secret(number)
		for _, c := range w.cells() {
			for _, method := range []string{"/a/b", "/tongcha.hub.v1.LookupService/DeleteEverything", "/by/" + number} {
				got := w.tell(call(c, method, grpc.MethodInfo{}))
				if got.code != codes.Unimplemented || got.reason != "METHOD_UNKNOWN" {
					w.Errorf("%s as %s: %v %s", method, c.name, got.code, got.reason)
				}
			}
		}
		for _, m := range methods {
			if allowed[m] == "" && m != "unknown" {
				w.Errorf("%q, which a caller chose, is in the figures", m)
			}
		}
	})
}

// What the gateway says of its client is worth nothing from anybody else.
func TestReservedMetadataOfAStranger(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		conn := w.as(pki.RolePlatform, "shop")
		ctx := metadata.AppendToOutgoingContext(w.Context(), "x-tongcha-peer", "spiffe://"+domain+"/regulator/miit", "x-tongcha-address", "203.0.113.7")
		_, err := oversightv1.NewCoverageServiceClient(conn).GetCoverage(ctx, &oversightv1.GetCoverageRequest{})
		w.wants("a platform that says it is a regulator", err, "ROLE_DENIED", "")
		_, err = hubv1.NewVerificationServiceClient(conn).CreateVerification(ctx, request(number, suffix))
		w.wants("a platform that says it is the gateway", err, "ROLE_DENIED", "")
		stranger := metadata.AppendToOutgoingContext(w.Context(), "x-tongcha-peer", "spiffe://"+domain+"/platform/shop")
		_, err = hubv1.NewMembershipServiceClient(w.as(pki.RoleCarrier, "telco")).ReportUnbind(stranger, &hubv1.ReportUnbindRequest{})
		w.wants("a carrier that says it is a platform", err, "ROLE_DENIED", "")
	})
}

// The address counts per client behind the gateway.
func TestAddressOfTheGatewaysClient(t *testing.T) {
	few := func(s *settings) { s.verify.AddressPerDay = 1 }
	inWorld(t, few, func(w *world) {
		from := func(address string) context.Context {
			return metadata.AppendToOutgoingContext(w.Context(), "x-tongcha-address", address)
		}
		for i, c := range []struct{ address, number, reason string }{
			{"203.0.113.7", "13800138000", ""}, {"203.0.113.7", "13800138001", "DAILY_LIMIT"}, {"203.0.113.8", "13800138002", ""},
		} {
			_, err := w.verification().CreateVerification(from(c.address), request(c.number, suffix))
			if got := w.tell(err); got.reason != c.reason {
				w.Errorf("%d: %q, want %q", i, got.reason, c.reason)
			}
		}
	})
}

func TestOpenCoverage(t *testing.T) {
	inWorld(t, open, func(w *world) {
		for _, c := range w.cells() {
			resp, err := oversightv1.NewCoverageServiceClient(c.conn).GetCoverage(c.ctx, &oversightv1.GetCoverageRequest{})
			if err != nil || resp.GetCoverage().GetCatalogued() != 4 || resp.GetCoverage().GetJoined() != 3 {
				w.Errorf("%s: %v %v", c.name, resp, err)
			}
		}
	})
}

func TestRefusedHandshakes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		dir := w.TempDir()
		w.must(pki.Create(dir, domain))
		other, err := pki.Load(dir)
		w.must(err)
		for name, conn := range map[string]*grpc.ClientConn{
			"plaintext":      w.dial(w.tls, insecure.NewCredentials()),
			"no certificate": w.dialTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}),
			"another CA":     w.dialTLS(pki.ClientConfig(w.issueBy(other, pki.RolePlatform, "shop"), hub)),
			"TLS 1.2": w.dialTLS(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					return w.issue(pki.RolePlatform, "shop").Certificate()
				}}),
		} {
			ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
			got := w.tell(conn.Invoke(ctx, "/grpc.health.v1.Health/Check", new(emptypb.Empty), new(emptypb.Empty)))
			cancel()
			if got.code != codes.Unavailable || got.reason != "" {
				w.Errorf("%s: %v %s", name, got.code, got.reason)
			}
		}
	})
}
