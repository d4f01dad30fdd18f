package sdk_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

const (
	benchFrame  = 64   // questions of a frame or call
	benchFlight = 1024 // questions in flight
)

// serveTCP serves over TCP and mutual TLS and connects as a hub.
func serveTCP(b testing.TB, h sdk.Handler) connectorv1.ConnectorServiceClient {
	b.Helper()
	a := sdktest.NewAuthority(b)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv, err := sdk.New(sdk.Config{
		PlatformID: "shop", Listener: lis, Credentials: a.Issue(sdk.RolePlatform, "shop"),
		Logger: slog.New(slog.DiscardHandler),
	}, h)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	hub := a.Issue(sdk.RoleHub, "hub-1")
	cert, err := tls.X509KeyPair(hub.CertPEM, hub.KeyPEM)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(
		&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return connectorv1.NewConnectorServiceClient(conn)
}

func oneAccount(context.Context, sdk.Subject) (sdk.Answer, error) {
	return sdk.Found(sdk.Account{Ref: "u-81f3", Product: "商城"}), nil
}

func afterDelay(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return sdk.Found(), nil
}

func benchHandlers(b *testing.B, f func(*testing.B, lookups)) {
	b.Run("0ms", func(b *testing.B) { f(b, oneAccount) })
	b.Run("20ms", func(b *testing.B) { f(b, afterDelay) })
}

func BenchmarkStream(b *testing.B) {
	benchHandlers(b, func(b *testing.B, h lookups) {
		st := sdktest.OpenStream(b, serveTCP(b, h))
		room := make(chan struct{}, benchFlight/benchFrame)
		go func() {
			items := make([]*connectorv1.StreamItem, benchFrame)
			for i := range items {
				items[i] = &connectorv1.StreamItem{Subject: subject(uint64(i), numberA), AnswerWithinMillis: 2500}
			}
			var id uint64
			for sent := 0; sent < b.N; sent += benchFrame {
				room <- struct{}{}
				for _, item := range items {
					id++
					item.ItemId = id
					binary.BigEndian.PutUint64(item.GetSubject().GetSubjectRef(), id)
				}
				st.Ask(items...)
			}
			st.End()
		}()
		b.ReportAllocs()
		b.ResetTimer()
		var got, frames int
		for {
			answers, err := st.Answers()
			if err != nil {
				b.Fatal(err)
			}
			if answers == nil {
				break
			}
			frames++
			for range (got+len(answers))/benchFrame - got/benchFrame {
				<-room
			}
			got += len(answers)
		}
		b.ReportMetric(float64(got)/b.Elapsed().Seconds(), "items/s")
		b.ReportMetric(float64(got)/float64(frames), "items/frame")
	})
}

func BenchmarkUnary(b *testing.B) {
	benchHandlers(b, func(b *testing.B, h lookups) {
		c := serveTCP(b, h)
		var subjects []*connectorv1.Subject
		for i := range benchFrame {
			subjects = append(subjects, subject(uint64(i), numberA))
		}
		room := make(chan struct{}, benchFlight/benchFrame)
		b.ReportAllocs()
		b.ResetTimer()
		for asked := 0; asked < b.N; asked += benchFrame {
			room <- struct{}{}
			go func() {
				defer func() { <-room }()
				if _, err := c.LookupBindings(context.Background(), batch(2500*time.Millisecond, subjects...)); err != nil {
					b.Error(err)
				}
			}()
		}
		for range cap(room) {
			room <- struct{}{}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
	})
}
