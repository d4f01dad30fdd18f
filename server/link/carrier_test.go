package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

type carrierServer struct {
	carrierv1.UnimplementedCarrierServiceServer
	attest func(*carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error)
	check  func(*carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error)
}

func (c *carrierServer) AttestHolder(_ context.Context, r *carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
	return c.attest(r)
}

func (c *carrierServer) CheckHolder(_ context.Context, r *carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
	return c.check(r)
}

func suffix(t *testing.T) phone.IDSuffix {
	t.Helper()
	s, err := phone.ParseIDSuffix(phone.ResidentID, "12345X")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// carrier serves c under a role and an id, and dials it as the carrier "unicom".
func (w *world) carrier(c *carrierServer, role pki.Role, id string) *link.Carrier {
	w.t.Helper()
	w.serve("unicom.example:1", pki.ServerConfig(issue(w.t, w.ca, role, id, 0), domain), func(s *grpc.Server) {
		carrierv1.RegisterCarrierServiceServer(s, c)
	})
	got, err := link.DialCarrier(w.dialOptions(), "unicom", "unicom.example:1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = got.Close() })
	return got
}

func TestAttest(t *testing.T) {
	since := bubbleStart.Add(-time.Hour)
	for name, c := range map[string]struct {
		resp  *carrierv1.AttestHolderResponse
		want  platform.Attestation
		since time.Time
	}{
		"match":         {&carrierv1.AttestHolderResponse{Attestation: 1, HolderSince: timestamppb.New(since)}, platform.AttestMatch, since},
		"mismatch":      {&carrierv1.AttestHolderResponse{Attestation: 2, HolderSince: timestamppb.New(since)}, platform.AttestMismatch, time.Time{}},
		"unknown":       {&carrierv1.AttestHolderResponse{Attestation: 3}, platform.AttestUnknown, time.Time{}},
		"unset":         {&carrierv1.AttestHolderResponse{HolderSince: timestamppb.New(since)}, platform.AttestUnknown, time.Time{}},
		"99":            {&carrierv1.AttestHolderResponse{Attestation: 99, HolderSince: timestamppb.New(since)}, platform.AttestUnknown, time.Time{}},
		"no time":       {&carrierv1.AttestHolderResponse{Attestation: 1}, platform.AttestUnknown, time.Time{}},
		"epoch":         {&carrierv1.AttestHolderResponse{Attestation: 1, HolderSince: &timestamppb.Timestamp{}}, platform.AttestUnknown, time.Time{}},
		"future":        {&carrierv1.AttestHolderResponse{Attestation: 1, HolderSince: timestamppb.New(bubbleStart.AddDate(1, 0, 0))}, platform.AttestUnknown, time.Time{}},
		"invalid since": {&carrierv1.AttestHolderResponse{Attestation: 1, HolderSince: &timestamppb.Timestamp{Seconds: 5, Nanos: -5}}, platform.AttestUnknown, time.Time{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			carrier := w.carrier(&carrierServer{attest: func(r *carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
				if r.GetPhoneNumber() != number || r.GetIdSuffix() != "12345X" || r.GetDocumentType() != "RESIDENT_ID" {
					t.Error("the question was not sent as it should be")
				}
				return c.resp, nil
			}}, pki.RoleCarrier, "unicom")
			got, when, err := carrier.Attest(t.Context(), mobile(t), suffix(t))
			if err != nil || got != c.want || !when.Equal(c.since) {
				t.Errorf("%s: %v %v %v", name, got, when, err)
			}
		})
	}
}

func TestCheckHolder(t *testing.T) {
	past, future := bubbleStart.Add(-time.Hour), bubbleStart.AddDate(1, 0, 0)
	for name, c := range map[string]struct {
		resp    *carrierv1.CheckHolderResponse
		want    platform.HolderChange
		horizon time.Time
	}{
		"unchanged": {&carrierv1.CheckHolderResponse{Change: 1, DataHorizon: timestamppb.New(past)}, platform.ChangeNone, past},
		"changed":   {&carrierv1.CheckHolderResponse{Change: 2}, platform.ChangeHands, time.Time{}},
		"no data":   {&carrierv1.CheckHolderResponse{Change: 3, DataHorizon: timestamppb.New(future)}, platform.ChangeNoData, time.Time{}},
		"99":        {&carrierv1.CheckHolderResponse{Change: 99}, platform.ChangeNoData, time.Time{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			carrier := w.carrier(&carrierServer{check: func(r *carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
				if r.GetPhoneNumber() != number || !r.GetSince().AsTime().Equal(past) {
					t.Error("the question was not sent as it should be")
				}
				return c.resp, nil
			}}, pki.RoleCarrier, "unicom")
			got, horizon, err := carrier.CheckHolder(t.Context(), mobile(t), past)
			if err != nil || got != c.want || !horizon.Equal(c.horizon) {
				t.Errorf("%s: %v %v %v", name, got, horizon, err)
			}
		})
	}
}

func TestCarrierFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hold := make(chan struct{})
		carrier := w.carrier(&carrierServer{
			attest: func(r *carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
				return nil, status.Error(codes.ResourceExhausted, r.GetPhoneNumber()+r.GetIdSuffix())
			},
			check: func(*carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
				<-hold
				return nil, nil
			},
		}, pki.RoleCarrier, "unicom")
		defer close(hold)
		_, _, err := carrier.Attest(t.Context(), mobile(t), suffix(t))
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != platform.CodeResourceExhausted || strings.Contains(fmt.Sprintf("%v %+v", e, e), "1380013") {
			t.Errorf("%v", err)
		}
		start := time.Now()
		_, _, err = carrier.CheckHolder(t.Context(), mobile(t), start)
		if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != "DEADLINE_EXCEEDED" || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// The suffix goes to nobody but the carrier: a platform's certificate won't do.
func TestCarrierIdentity(t *testing.T) {
	for _, c := range []struct {
		role pki.Role
		id   string
	}{{pki.RolePlatform, "unicom"}, {pki.RoleCarrier, "mobile"}, {pki.RoleHub, "unicom"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			carrier := w.carrier(&carrierServer{attest: func(*carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
				t.Error("asked")
				return nil, nil
			}}, c.role, c.id)
			got, _, err := carrier.Attest(t.Context(), mobile(t), suffix(t))
			if e, ok := errors.AsType[*platform.CallError](err); !ok || e.Code != "UNAVAILABLE" || got != platform.AttestUnknown {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	if _, err := link.DialCarrier(link.Dial{}, "unicom", "no port"); err == nil {
		t.Error("a bad address was accepted")
	}
}
