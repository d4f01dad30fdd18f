package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
)

// Store is the database as an operator sees it. Both methods read in a transaction
// of their own.
type Store interface {
	// Backup copies the database to what to returns, which is told first how it is
	// used. Errors: fault.StoreFailed; the writer's own.
	Backup(ctx context.Context, to func(*adminv1.StoreStats) io.Writer) error
	// StoreStats counts records and pages. Errors: fault.StoreFailed.
	StoreStats(context.Context) (*adminv1.StoreStats, error)
}

// A backup is a read transaction, and as long as it lasts the database grows by
// what is written. Whoever takes it more slowly than this is cut off.
const (
	backupGrace = time.Minute
	backupRate  = 4 << 20 // bytes a second
	backupChunk = 1 << 20
)

type storeService struct {
	adminv1.UnimplementedStoreServiceServer
	o Options
}

// GetStoreStats implements admin.v1.StoreService.
func (s *storeService) GetStoreStats(ctx context.Context, _ *adminv1.GetStoreStatsRequest) (*adminv1.GetStoreStatsResponse, error) {
	m, err := s.o.Store.StoreStats(ctx)
	if err != nil {
		return nil, fmt.Errorf("store stats: %w", err)
	}
	return &adminv1.GetStoreStatsResponse{Stats: m}, nil
}

// Backup implements admin.v1.StoreService. The copy runs on a goroutine of its own
// that ends when the time is over, whoever still waits in Send: so does its
// transaction.
func (s *storeService) Backup(_ *adminv1.BackupRequest, stream grpc.ServerStreamingServer[adminv1.BackupResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	r, w := io.Pipe()
	defer func() { _ = r.CloseWithError(context.Canceled) }()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) }) // ends both sides
	began := make(chan *adminv1.StoreStats, 1)
	go func() {
		var limit *time.Timer
		err := s.o.Store.Backup(ctx, func(m *adminv1.StoreStats) io.Writer {
			limit = time.AfterFunc(backupGrace+time.Duration(m.GetFileBytes()/backupRate)*time.Second, func() { cancel(fault.DeadlineExceeded.New()) })
			began <- m
			return w
		})
		close(began)
		if limit != nil {
			limit.Stop()
		}
		_ = w.CloseWithError(err) // nil is the end
	}()
	if m := <-began; m != nil {
		if err := stream.Send(&adminv1.BackupResponse{Stats: m}); err != nil {
			return err
		}
	}
	return sendAll(stream, r)
}

// sendAll sends what comes, and then its digest.
func sendAll(stream grpc.ServerStreamingServer[adminv1.BackupResponse], r io.Reader) error {
	sum := sha256.New()
	for {
		chunk := make([]byte, backupChunk)
		n, err := io.ReadFull(r, chunk)
		_, _ = sum.Write(chunk[:n])
		if n > 0 {
			if err := stream.Send(&adminv1.BackupResponse{Data: chunk[:n]}); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return stream.Send(&adminv1.BackupResponse{Sha256: sum.Sum(nil)})
		default:
			return fmt.Errorf("backup: %w", err)
		}
	}
}

// translateStream does for a stream what translate does for a call.
func (s *service) translateStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	_, err := s.translate(stream.Context(), nil, &grpc.UnaryServerInfo{FullMethod: info.FullMethod}, func(context.Context, any) (any, error) {
		return nil, next(srv, stream)
	})
	return err
}
