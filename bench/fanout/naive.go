package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/hub"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/pki"
)

// naive is what one writes first: one connection for each platform, one
// goroutine and one unary call for each platform of each lookup.
type naive struct {
	within  time.Duration
	conns   []*grpc.ClientConn
	clients []connectorv1.ConnectorServiceClient
}

func newNaive(site fleet.Site, within time.Duration) (*naive, error) {
	creds, err := hub.Credentials(site)
	if err != nil {
		return nil, err
	}
	n := &naive{within: within}
	for _, p := range site.Platforms {
		want := pki.Identity{TrustDomain: site.TrustDomain, Role: pki.RolePlatform, ID: p.ID}
		conn, err := grpc.NewClient("passthrough:///"+p.Address, grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientConfig(creds, want))))
		if err != nil {
			n.close()
			return nil, err
		}
		n.conns = append(n.conns, conn)
		n.clients = append(n.clients, connectorv1.NewConnectorServiceClient(conn))
	}
	return n, nil
}

func (n *naive) close() {
	for _, c := range n.conns {
		_ = c.Close() // fails only where closed before
	}
}

// lookup asks every platform at once and collects what comes back.
func (n *naive) lookup(number phone.Number) (asked, answered int) {
	ctx, cancel := context.WithTimeout(context.Background(), n.within)
	defer cancel()
	answers := make(chan *connectorv1.SubjectAnswer, len(n.clients))
	for _, client := range n.clients {
		go func() { answers <- n.ask(ctx, client, number) }()
	}
	for range n.clients {
		if a := <-answers; a != nil {
			answered++
		}
	}
	return len(n.clients), answered
}

// ask is nil where there is no sound answer.
func (n *naive) ask(ctx context.Context, client connectorv1.ConnectorServiceClient, number phone.Number) *connectorv1.SubjectAnswer {
	ref := make([]byte, 16)
	_, _ = rand.Read(ref) // which never fails
	resp, err := client.LookupBindings(ctx, &connectorv1.LookupBindingsRequest{
		Subjects: []*connectorv1.Subject{{
			SubjectRef: ref, PhoneNumber: number.E164(), HolderSince: timestamppb.New(time.Unix(1_700_000_000, 0)),
		}},
		AnswerWithin: durationpb.New(n.within),
	})
	if err != nil || len(resp.GetAnswers()) != 1 {
		return nil
	}
	a := resp.GetAnswers()[0]
	if !bytes.Equal(a.GetSubjectRef(), ref) || a.GetState() != connectorv1.BindingState_BINDING_STATE_BOUND {
		return nil
	}
	return a
}
