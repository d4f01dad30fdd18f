package simulator_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
	"github.com/tongcha/tongcha/connectors/simulator"
)

// The bubble's clock begins at 2000-01-01 00:00 UTC; the last holder of the
// first number comes a day later.
const holderRows = holdersHeader +
	"13800000001,022222,1999-06-01\n" +
	"13800000001,011111,1998-01-01\n" +
	"13800000001,03333x,2000-01-02\n" +
	"13800000002,044444,2001-01-01\n"

func startCarrier(t *testing.T) carrierv1.CarrierServiceClient {
	t.Helper()
	dir := t.TempDir()
	d := open(t, dir)
	for _, want := range []int{4, 0} {
		if n, err := d.ImportHolders(strings.NewReader(holderRows), checks()); n != want || err != nil {
			t.Fatalf("imported %d, %v; want %d", n, err, want)
		}
	}
	d.Close()
	d = open(t, dir) // answers come from what is on disk
	a, lis := sdktest.NewAuthority(t), bufconn.Listen(1<<16)
	s, err := simulator.StartCarrier(t.Context(), "carrier-1", d, simulator.Endpoint{
		Listener: lis, Credentials: a.Issue(sdk.RoleCarrier, "carrier-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	platform := carrierv1.NewCarrierServiceClient(sdktest.Dial(t, lis, a.Issue(sdk.RolePlatform, "shop")))
	_, err = platform.CheckHolder(t.Context(), &carrierv1.CheckHolderRequest{PhoneNumber: numberA, Since: timestamppb.Now()})
	wantCode(t, err, codes.Unavailable) // only a hub gets in
	return carrierv1.NewCarrierServiceClient(sdktest.Dial(t, lis, a.Issue(sdk.RoleHub, "hub-1")))
}

func TestAttestHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCarrier(t)
		attest := func(number, suffix, document string) *carrierv1.AttestHolderResponse {
			t.Helper()
			r, err := c.AttestHolder(t.Context(), &carrierv1.AttestHolderRequest{PhoneNumber: number, IdSuffix: suffix, DocumentType: document})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		const match, mismatch, unknown = carrierv1.Attestation_ATTESTATION_MATCH, carrierv1.Attestation_ATTESTATION_MISMATCH, carrierv1.Attestation_ATTESTATION_UNKNOWN
		r := attest(numberA, "022222", "RESIDENT_ID")
		if r.GetAttestation() != match || !r.GetHolderSince().AsTime().Equal(time.Date(1999, 5, 31, 16, 0, 0, 0, time.UTC)) {
			t.Errorf("present holder: %v", r)
		}
		for _, tc := range []struct {
			number, suffix string
			want           carrierv1.Attestation
		}{
			{numberA, "011111", mismatch}, {numberA, "03333X", mismatch}, {numberA, "099999", mismatch},
			{numberB, "044444", unknown}, {"+8613800000003", "044444", unknown},
		} {
			if r := attest(tc.number, tc.suffix, "PASSPORT"); r.GetAttestation() != tc.want || r.HolderSince != nil {
				t.Errorf("%s %s: %v", tc.number, tc.suffix, r)
			}
		}
		time.Sleep(24 * time.Hour)
		if r := attest(numberA, "03333X", "PASSPORT"); r.GetAttestation() != match {
			t.Errorf("a day later the new holder: %v", r)
		}
		if r := attest(numberA, "022222", "RESIDENT_ID"); r.GetAttestation() != mismatch {
			t.Errorf("a day later the old holder: %v", r)
		}
	})
}

func TestCheckHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCarrier(t)
		since := time.Date(1999, 5, 31, 16, 0, 0, 0, time.UTC)
		for _, tc := range []struct {
			number string
			since  time.Time
			want   carrierv1.HolderChange
		}{
			{numberA, since.Add(-time.Nanosecond), carrierv1.HolderChange_HOLDER_CHANGE_CHANGED},
			{numberA, since, carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED},
			{numberA, time.Now(), carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED},
			{numberB, since, carrierv1.HolderChange_HOLDER_CHANGE_NO_DATA},
			{"+8613800000003", since, carrierv1.HolderChange_HOLDER_CHANGE_NO_DATA},
		} {
			r, err := c.CheckHolder(t.Context(), &carrierv1.CheckHolderRequest{PhoneNumber: tc.number, Since: timestamppb.New(tc.since)})
			if err != nil || r.GetChange() != tc.want {
				t.Errorf("%s since %v: %v, %v; want %v", tc.number, tc.since, r, err, tc.want)
			}
		}
	})
}

func TestCarrierDoesNotEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCarrier(t)
		const canary = "774133"
		for _, req := range []*carrierv1.AttestHolderRequest{
			{PhoneNumber: canary, IdSuffix: canary, DocumentType: "RESIDENT_ID"},
			{PhoneNumber: numberA, IdSuffix: canary + "x", DocumentType: "RESIDENT_ID"},
			{PhoneNumber: numberA, IdSuffix: canary, DocumentType: canary},
		} {
			_, err := c.AttestHolder(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("echoed: %v", err)
			}
		}
		_, err := c.CheckHolder(t.Context(), &carrierv1.CheckHolderRequest{PhoneNumber: numberA, Since: timestamppb.New(time.Now().Add(time.Second))})
		wantCode(t, err, codes.InvalidArgument)
		_, err = c.CheckHolder(t.Context(), &carrierv1.CheckHolderRequest{PhoneNumber: numberA})
		wantCode(t, err, codes.InvalidArgument)
	})
}
