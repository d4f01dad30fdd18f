package admin_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/rpc"
)

// tape is a database of so many bytes.
type tape struct {
	bytes int
	fails error
	ended chan error // what the last Backup returned
}

// Backup implements admin.Store.
func (s *tape) Backup(ctx context.Context, to func(*adminv1.StoreStats) io.Writer) (err error) {
	defer func() { s.ended <- err }()
	if s.fails != nil {
		return s.fails
	}
	w := to(&adminv1.StoreStats{FileBytes: int64(s.bytes), Buckets: []*adminv1.BucketStats{{Name: "orders", Records: 7}}})
	for left := s.bytes; left > 0; left -= 1000 {
		if _, err := w.Write(make([]byte, min(left, 1000))); err != nil {
			return err
		}
	}
	return nil
}

// StoreStats implements admin.Store.
func (s *tape) StoreStats(context.Context) (*adminv1.StoreStats, error) {
	return &adminv1.StoreStats{FileBytes: int64(s.bytes)}, s.fails
}

// storeClient serves s in memory, until the test ends.
func storeClient(t *testing.T, s *tape) (adminv1.StoreServiceClient, func()) {
	t.Helper()
	s.ended = make(chan error, 1)
	l := bufconn.Listen(1 << 16)
	g := admin.NewServer(admin.Options{Store: s, Status: rpc.Status, Logger: slog.New(slog.DiscardHandler)})
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return adminv1.NewStoreServiceClient(conn), func() {
		_ = conn.Close()
		g.Stop()
		<-done
	}
}

// TestBackupStream: stats first, then every byte, then their digest.
func TestBackupStream(t *testing.T) {
	s := &tape{bytes: 3<<20 + 17}
	c, end := storeClient(t, s)
	defer end()
	stream, err := c.Backup(t.Context(), &adminv1.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	sum, got := sha256.New(), 0
	for n := 0; ; n++ {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatalf("before the digest: %v", err)
		}
		if first := resp.GetStats() != nil; first != (n == 0) || first && resp.GetStats().GetBuckets()[0].GetRecords() != 7 {
			t.Errorf("message %d: stats %v", n, resp.GetStats())
		}
		got += len(resp.GetData())
		_, _ = sum.Write(resp.GetData())
		if resp.GetSha256() != nil {
			if string(resp.GetSha256()) != string(sum.Sum(nil)) || got != s.bytes {
				t.Errorf("%d bytes of %d, or another digest", got, s.bytes)
			}
			break
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the digest: %v", err)
	}
	resp, err := c.GetStoreStats(t.Context(), &adminv1.GetStoreStatsRequest{})
	if err != nil || resp.GetStats().GetFileBytes() != int64(s.bytes) {
		t.Errorf("%v %v", resp, err)
	}
}

// TestBackupFails: a failure is told as what it is, and is no end.
func TestBackupFails(t *testing.T) {
	c, end := storeClient(t, &tape{fails: fault.StoreFailed.New()})
	defer end()
	stream, err := c.Backup(t.Context(), &adminv1.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

// TestBackupIsBounded: whoever asks for a backup and does not take it is cut off, so
// that the database does not grow for ever; so is one who leaves.
func TestBackupIsBounded(t *testing.T) {
	for name, leaves := range map[string]bool{"stands still": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &tape{bytes: 400 << 20}
				c, end := storeClient(t, s)
				defer end()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				stream, err := c.Backup(ctx, &adminv1.BackupRequest{})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				want := 160 * time.Second
				if leaves {
					want = 0
					cancel()
				}
				err = <-s.ended
				if took := time.Since(began); took != want || err == nil {
					t.Errorf("the copy ended after %v with %v, want after %v", took, err, want)
				}
				for err = nil; err == nil && !leaves; { // it goes on too late
					_, err = stream.Recv()
				}
				if !leaves && status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("it was told %v", err)
				}
			})
		})
	}
}
