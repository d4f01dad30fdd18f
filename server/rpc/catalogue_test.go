package rpc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

func TestConsentNamesTheRecipients(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.suspended = true })
		c, err := hubv1.NewCatalogueServiceClient(w.gateway).GetConsent(w.Context(), &hubv1.GetConsentRequest{})
		w.must(err)
		if c.GetVersion() != "1" || c.GetText() == "" || !slices.Equal(c.GetScopes(), []string{"LOOKUP", "UNBIND"}) || !slices.Equal(c.GetRecipients(), []string{"平台bank", "平台shop"}) {
			w.Errorf("%v", c)
		}
	})
}

func TestListPlatforms(t *testing.T) {
	more := func(s *settings) {
		for i := range 250 {
			s.more = append(s.more, platform.ID(fmt.Sprintf("p%03d", i)))
		}
	}
	inWorld(t, more, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.suspended = true })
		list := func(size int32, token string) *hubv1.ListPlatformsResponse {
			resp, err := hubv1.NewCatalogueServiceClient(w.gateway).ListPlatforms(w.Context(), &hubv1.ListPlatformsRequest{PageSize: size, PageToken: token})
			w.must(err)
			return resp
		}
		first := list(0, "")
		second := list(0, first.GetNextPageToken())
		if len(first.GetPlatforms()) != 200 || len(second.GetPlatforms()) != 54 || second.NextPageToken != nil {
			w.Fatalf("%d, %d", len(first.GetPlatforms()), len(second.GetPlatforms()))
		}
		if all := list(1000, ""); len(all.GetPlatforms()) != 254 || all.NextPageToken != nil {
			w.Errorf("%d", len(all.GetPlatforms()))
		}
		if exact := list(254, ""); len(exact.GetPlatforms()) != 254 || exact.NextPageToken != nil {
			w.Error("a last page that is full says that more follow")
		}
		for _, p := range first.GetPlatforms() {
			want := map[string]string{"chat": "SUSPENDED", "idle": "NOT_JOINED"}[p.GetPlatformId()]
			if want == "" {
				want = "SERVING"
			}
			if p.GetHealth() != want || p.GetJoined() != (want == "SERVING") {
				w.Errorf("%v", p)
			}
		}
	})
}

func TestHealth(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		client := healthv1.NewHealthClient(w.as(pki.RoleCarrier, "telco"))
		for _, serving := range []bool{false, true, false} {
			w.server.SetServing(serving)
			resp, err := client.Check(w.Context(), &healthv1.HealthCheckRequest{})
			if err != nil || (resp.GetStatus() == healthv1.HealthCheckResponse_SERVING) != serving {
				w.Errorf("%v %v", resp, err)
			}
		}
		_, err := client.Check(w.Context(), &healthv1.HealthCheckRequest{Service: "nobody"})
		if got := w.tell(err); got.code != codes.NotFound {
			w.Errorf("a stock service's own status: %v", got.code)
		}
	})
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string                        { return "proto" }
func (raw) Marshal(v any) ([]byte, error)       { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) (_ error) { return proto.Unmarshal(b, v.(proto.Message)) }

// What is no message of the contract never comes as far as a handler.
func TestBrokenMessages(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.secret(number)
		for what, b := range map[string][]byte{
			"bad UTF-8":   append([]byte{0x0a, byte(len(number) + 1), 0xff}, number...),
			"cut":         {0x0a, 0x7f, '1'},
			"no protobuf": []byte(number),
			"wrong type":  {0x08, 0x01},
			"group":       {0x0b},
		} {
			err := w.gateway.Invoke(w.Context(), hubv1.VerificationService_CreateVerification_FullMethodName, b, new(emptypb.Empty), grpc.ForceCodec(raw{}))
			if got := w.tell(err); got.code != codes.Internal && got.reason != "PHONE_INVALID" {
				w.Errorf("%s: %v", what, got.code)
			}
		}
	})
}

func TestLimitsOfTheWire(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		_, err := hubv1.NewMembershipServiceClient(w.as(pki.RolePlatform, "shop")).ReportUnbind(w.Context(), &hubv1.ReportUnbindRequest{RefusalText: strings.Repeat("a", 256<<10)})
		if code := codeOf(err); code != codes.ResourceExhausted {
			w.Errorf("a message over 256 KiB: %v", code)
		}
		long := metadata.AppendToOutgoingContext(w.Context(), "x-long", strings.Repeat("a", 9<<10))
		_, err = healthv1.NewHealthClient(w.as(pki.RolePlatform, "shop")).Check(long, &healthv1.HealthCheckRequest{})
		if err == nil {
			w.Error("headers over 8 KiB were taken")
		}
	})
}
