package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/pki"
)

// flood is a connector that describes itself as it should and answers questions
// with far too much, on a stream without end.
type flood struct {
	connectorv1.UnimplementedConnectorServiceServer
	id     string
	tls    *tls.Config
	server *grpc.Server
	body   atomic.Pointer[bodies]
}

// bodies are what is poured out, encoded beforehand: flooding must cost the hub
// and not the machine that both share.
type bodies struct{ answer, frame []byte }

func newFlood(o opening, paper paper) (*flood, error) {
	cert, err := pki.Pair{CertPEM: paper.CertPEM, KeyPEM: paper.KeyPEM}.TLS()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.CAPEM) {
		return nil, errors.New("the opening holds no authority")
	}
	f := &flood{id: paper.ID, tls: pki.ServerConfig(pki.Fixed(cert, roots), o.TrustDomain)}
	f.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(f.tls)),
		grpc.ForceServerCodecV2(floodCodec{encoding.GetCodecV2(protocodec.Name), f}),
	)
	connectorv1.RegisterConnectorServiceServer(f.server, f)
	return f, nil
}

// fill sets how many bytes an answer has.
func (f *flood) fill(size int) error {
	if size == 0 {
		f.body.Store(nil)
		return nil
	}
	much := &connectorv1.SubjectAnswer{SubjectRef: make([]byte, size)}
	answer, err := proto.Marshal(&connectorv1.LookupBindingsResponse{Answers: []*connectorv1.SubjectAnswer{much}})
	if err != nil {
		return err
	}
	frame, err := proto.Marshal(&connectorv1.StreamBindingsResponse{Answers: []*connectorv1.StreamAnswer{{ItemId: 1, Answer: much}}})
	if err != nil {
		return err
	}
	f.body.Store(&bodies{answer: answer, frame: frame})
	return nil
}

// Describe is sound.
func (f *flood) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	return &connectorv1.DescribeResponse{
		PlatformId: f.id, Functions: []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP, connectorv1.Function_FUNCTION_UNBIND},
		UnbindMode: connectorv1.UnbindMode_UNBIND_MODE_SYNC, MaxBatch: 64, ProtocolVersion: "1.0", StreamBindings: true,
	}, nil
}

// LookupBindings answers with what the codec pours in.
func (f *flood) LookupBindings(context.Context, *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	return &connectorv1.LookupBindingsResponse{}, nil
}

// RequestUnbind does the same.
func (f *flood) RequestUnbind(context.Context, *connectorv1.RequestUnbindRequest) (*connectorv1.RequestUnbindResponse, error) {
	return &connectorv1.RequestUnbindResponse{}, nil
}

// StreamBindings answers the first question for as long as the hub listens.
func (f *flood) StreamBindings(s grpc.BidiStreamingServer[connectorv1.StreamBindingsRequest, connectorv1.StreamBindingsResponse]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	for {
		if err := s.Send(&connectorv1.StreamBindingsResponse{}); err != nil {
			return err
		}
	}
}

// floodCodec replaces answers by the prepared bodies.
type floodCodec struct {
	encoding.CodecV2
	f *flood
}

// Marshal copies nothing.
func (c floodCodec) Marshal(v any) (mem.BufferSlice, error) {
	b := c.f.body.Load()
	if b == nil {
		return c.CodecV2.Marshal(v)
	}
	switch v.(type) {
	case *connectorv1.LookupBindingsResponse, *connectorv1.RequestUnbindResponse:
		return mem.BufferSlice{mem.SliceBuffer(b.answer)}, nil
	case *connectorv1.StreamBindingsResponse:
		return mem.BufferSlice{mem.SliceBuffer(b.frame)}, nil
	}
	return c.CodecV2.Marshal(v)
}
