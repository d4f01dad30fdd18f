package link

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

const carrierWithin = 3 * time.Second

// Carrier is a carrier that is reached over gRPC. Each call takes 3 s at most
// and leaves no goroutine behind.
type Carrier struct {
	conn   *grpc.ClientConn
	client carrierv1.CarrierServiceClient
	now    func() time.Time // the hub's clock
}

// DialCarrier starts to connect to the carrier of that id, whose certificate
// must say so; it does not wait for the connection.
//
// Errors: fault.PlatformIDInvalid, fault.AddressInvalid.
func DialCarrier(d Dial, id platform.ID, address string) (*Carrier, error) {
	if err := checkEntry(platform.Entry{ID: id, Address: address}); err != nil {
		return nil, err
	}
	conn, err := d.open(pki.RoleCarrier, id, address, &trouble{})
	if err != nil {
		return nil, err
	}
	conn.Connect()
	return &Carrier{conn: conn, client: carrierv1.NewCarrierServiceClient(conn), now: d.now}, nil
}

// Close ends the connection and every call.
func (c *Carrier) Close() error { return c.conn.Close() }

// Attest asks whether the suffix is the holder's. A match without a sound
// holder_since is worth nothing and counts as unknown.
func (c *Carrier) Attest(ctx context.Context, n phone.Number, s phone.IDSuffix) (platform.Attestation, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, carrierWithin)
	defer cancel()
	resp, err := c.client.AttestHolder(ctx, &carrierv1.AttestHolderRequest{
		PhoneNumber:  n.E164(),
		DocumentType: string(s.Document()),
		IdSuffix:     s.Reveal(),
	})
	if err != nil {
		return platform.AttestUnknown, time.Time{}, callError(err)
	}
	switch resp.GetAttestation() {
	case carrierv1.Attestation_ATTESTATION_MATCH:
		if since, ok := pastTime(resp.GetHolderSince(), c.now()); ok {
			return platform.AttestMatch, since, nil
		}
	case carrierv1.Attestation_ATTESTATION_MISMATCH:
		return platform.AttestMismatch, time.Time{}, nil
	}
	return platform.AttestUnknown, time.Time{}, nil
}

// CheckHolder asks whether the number changed hands after since. A horizon that
// is missing or in the future is given as zero.
func (c *Carrier) CheckHolder(ctx context.Context, n phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, carrierWithin)
	defer cancel()
	resp, err := c.client.CheckHolder(ctx, &carrierv1.CheckHolderRequest{PhoneNumber: n.E164(), Since: timestamppb.New(since)})
	if err != nil {
		return platform.ChangeNoData, time.Time{}, callError(err)
	}
	horizon, _ := pastTime(resp.GetDataHorizon(), c.now())
	switch resp.GetChange() {
	case carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED:
		return platform.ChangeNone, horizon, nil
	case carrierv1.HolderChange_HOLDER_CHANGE_CHANGED:
		return platform.ChangeHands, horizon, nil
	}
	return platform.ChangeNoData, horizon, nil
}

// pastTime reads a time that must be given and not be in the future. The epoch
// and before count as not given: they are what an unset field looks like.
func pastTime(t *timestamppb.Timestamp, now time.Time) (time.Time, bool) {
	if !t.IsValid() || t.AsTime().Unix() <= 0 || t.AsTime().After(now) {
		return time.Time{}, false
	}
	return t.AsTime(), true
}
