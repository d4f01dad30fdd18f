package simulator

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// carrier answers from the holder rows as they are at the moment of the call.
type carrier struct {
	carrierv1.UnimplementedCarrierServiceServer
	data *Data
}

// StartCarrier serves a carrier over the holder rows until ctx ends or Stop. The
// certificate must name the role carrier and the id; Endpoint.Reporter is not used.
func StartCarrier(ctx context.Context, id string, data *Data, at Endpoint) (*Server, error) {
	log := at.Logger
	if log == nil {
		log = slog.Default()
	}
	gs, err := sdk.NewGRPCServer(at.Credentials, sdk.RoleCarrier, id, log)
	if err != nil {
		return nil, fmt.Errorf("simulator: carrier %q: %w", id, err)
	}
	lis := at.Listener
	if lis == nil {
		address := at.Address
		if address == "" {
			address = "127.0.0.1:0"
		}
		if lis, err = net.Listen("tcp", address); err != nil {
			return nil, fmt.Errorf("simulator: carrier %q: %w", id, err)
		}
	}
	carrierv1.RegisterCarrierServiceServer(gs, &carrier{data: data})
	life, cancel := context.WithCancel(ctx)
	return &Server{
		addr: lis.Addr(),
		stop: inBackground(cancel, func() error { return sdk.RunGRPC(life, gs, lis, time.Second) }),
	}, nil
}

// AttestHolder implements the contract. The rows hold no document type, so the
// suffix alone is compared, whatever the document.
func (c *carrier) AttestHolder(_ context.Context, req *carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
	switch {
	case !mobile(req.GetPhoneNumber()):
		return nil, status.Error(codes.InvalidArgument, "phone_number: want a mainland mobile number in E.164")
	case !documentType(req.GetDocumentType()):
		return nil, status.Error(codes.InvalidArgument, "document_type: not one of the known types")
	case !sixCharacters(req.GetIdSuffix()):
		return nil, status.Error(codes.InvalidArgument, "id_suffix: want 6 characters of 0-9 A-Z")
	}
	h, held := c.data.presentHolder(req.GetPhoneNumber(), time.Now())
	if !held {
		h.suffix = "000000" // compared all the same, to take the same time
	}
	same := subtle.ConstantTimeCompare([]byte(h.suffix), []byte(req.GetIdSuffix())) == 1
	switch {
	case !held:
		return &carrierv1.AttestHolderResponse{Attestation: carrierv1.Attestation_ATTESTATION_UNKNOWN}, nil
	case !same:
		return &carrierv1.AttestHolderResponse{Attestation: carrierv1.Attestation_ATTESTATION_MISMATCH}, nil
	}
	return &carrierv1.AttestHolderResponse{
		Attestation: carrierv1.Attestation_ATTESTATION_MATCH,
		HolderSince: timestamppb.New(h.since),
	}, nil
}

// CheckHolder implements the contract.
func (c *carrier) CheckHolder(_ context.Context, req *carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
	if !mobile(req.GetPhoneNumber()) {
		return nil, status.Error(codes.InvalidArgument, "phone_number: want a mainland mobile number in E.164")
	}
	now := time.Now()
	if req.GetSince().CheckValid() != nil || req.GetSince().AsTime().After(now) {
		return nil, status.Error(codes.InvalidArgument, "since: want a time that is not in the future")
	}
	change := carrierv1.HolderChange_HOLDER_CHANGE_NO_DATA
	if h, held := c.data.presentHolder(req.GetPhoneNumber(), now); held {
		change = carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED
		if h.since.After(req.GetSince().AsTime()) {
			change = carrierv1.HolderChange_HOLDER_CHANGE_CHANGED
		}
	}
	return &carrierv1.CheckHolderResponse{Change: change}, nil
}

func mobile(s string) bool {
	return len(s) == 14 && s[:4] == "+861" && s[4] >= '3' && only(s[4:], "0123456789")
}

func sixCharacters(s string) bool {
	return len(s) == 6 && only(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

func documentType(s string) bool {
	switch s {
	case "RESIDENT_ID", "PASSPORT", "HK_MACAO_PERMIT", "TAIWAN_PERMIT", "FOREIGN_RESIDENT_ID":
		return true
	}
	return false
}

func only(s, allowed string) bool { return strings.Trim(s, allowed) == "" }
