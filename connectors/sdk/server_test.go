package sdk_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func nothing(context.Context, sdk.Subject) (sdk.Answer, error) { return sdk.Found(), nil }

func TestOnlyAHubGetsIn(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing))
	other := sdktest.NewAuthority(t)
	refused := map[string]sdk.Credentials{
		"no certificate":     {},
		"a platform":         p.Authority.Issue(sdk.RolePlatform, "shop"),
		"a carrier":          p.Authority.Issue(sdk.RoleCarrier, "carrier-1"),
		"another CA":         other.Issue(sdk.RoleHub, "hub-1"),
		"other trust domain": p.Authority.IssueURIs("spiffe://elsewhere/hub/hub-1"),
		"no URI SAN":         p.Authority.IssueURIs(),
		"two URI SANs":       p.Authority.IssueURIs("spiffe://test.tongcha/hub/hub-1", "spiffe://test.tongcha/hub/hub-2"),
		"longer path":        p.Authority.IssueURIs("spiffe://test.tongcha/hub/hub-1/x"),
		"with a query":       p.Authority.IssueURIs("spiffe://test.tongcha/hub/hub-1?a=b"),
		"https":              p.Authority.IssueURIs("https://test.tongcha/hub/hub-1"),
	}
	for name, creds := range refused {
		t.Run(name, func(t *testing.T) {
			client := connectorv1.NewConnectorServiceClient(p.Dial(creds))
			_, err := client.Describe(t.Context(), &connectorv1.DescribeRequest{})
			wantCode(t, err, codes.Unavailable)
		})
	}
	t.Run("a hub", func(t *testing.T) {
		_, err := p.Describe(t.Context(), &connectorv1.DescribeRequest{})
		wantCode(t, err, codes.OK)
	})
}

func TestServerRefusesToStartWithAWrongCertificate(t *testing.T) {
	a := sdktest.NewAuthority(t)
	foreign := a.Issue(sdk.RolePlatform, "shop")
	foreign.CAPEM = sdktest.NewAuthority(t).Issue(sdk.RoleHub, "hub-1").CAPEM
	noCA := a.Issue(sdk.RolePlatform, "shop")
	noCA.CAPEM = nil
	for name, tc := range map[string]struct {
		creds sdk.Credentials
		want  string
	}{
		"other id":   {a.Issue(sdk.RolePlatform, "other"), `want platform "shop"`},
		"other role": {a.Issue(sdk.RoleHub, "shop"), `want platform "shop"`},
		"no SAN":     {a.IssueURIs(), "0 URI SANs"},
		"other CA":   {foreign, "own certificate"},
		"no CA":      {noCA, "no certificate"},
		"nothing":    {sdk.Credentials{}, "CertFile is required"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sdk.New(sdk.Config{PlatformID: "shop", Address: "127.0.0.1:0", Credentials: tc.creds}, lookups(nothing))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestServeOnARealPort(t *testing.T) {
	a := sdktest.NewAuthority(t)
	srv, err := sdk.New(sdk.Config{PlatformID: "shop", Address: "127.0.0.1:0", Credentials: a.Issue(sdk.RolePlatform, "shop")}, lookups(nothing))
	if err != nil {
		t.Fatal(err)
	}
	if srv.Addr().String() == "127.0.0.1:0" {
		t.Error("Addr has no port")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Run(ctx); err != nil {
		t.Errorf("Run after its context ended: %v", err)
	}
}

func TestDescribeAndHealth(t *testing.T) {
	p := sdktest.Start(t, &later{}, func(c *sdk.Config) { c.DisplayName, c.MaxBatch = "商城", 7 })
	d, err := p.Describe(t.Context(), &connectorv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if d.GetPlatformId() != "shop" || d.GetDisplayName() != "商城" || d.GetMaxBatch() != 7 ||
		d.GetProtocolVersion() != "1.0" || d.GetUnbindMode() != sdk.ModeAsync || len(d.GetFunctions()) != 2 {
		t.Errorf("Describe = %v", d)
	}
	h := healthpb.NewHealthClient(p.Dial(p.Authority.Issue(sdk.RoleHub, "hub-1")))
	for _, service := range []string{"", connectorv1.ConnectorService_ServiceDesc.ServiceName} {
		r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q = %v, %v", service, r, err)
		}
	}
}

func TestFunctionsNotOffered(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing))
	_, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantCode(t, err, codes.Unimplemented)
	_, err = p.GetUnbind(t.Context(), &connectorv1.GetUnbindRequest{OrderId: "o-1"})
	wantCode(t, err, codes.Unimplemented)
	_, err = p.NotifyNumberEvents(t.Context(), &connectorv1.NotifyNumberEventsRequest{})
	wantCode(t, err, codes.Unimplemented)
}

func TestPanicsAreNotShown(t *testing.T) {
	var log bytes.Buffer
	h := &unbinds{do: func(_ context.Context, o sdk.Order) (sdk.Outcome, error) { panic("lost " + o.PhoneNumber) }}
	p := sdktest.Start(t, h, func(c *sdk.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	_, err := p.RequestUnbind(t.Context(), order("o-1", numberA))
	wantCode(t, err, codes.Internal)
	if m := status.Convert(err).Message(); strings.Contains(m, "goroutine") || strings.Contains(m, "138") {
		t.Errorf("message = %q", m)
	}
	p.Stop()
	if !strings.Contains(log.String(), "stack=") || strings.Contains(log.String(), "13800000001") {
		t.Errorf("log = %s", log.String())
	}
}
