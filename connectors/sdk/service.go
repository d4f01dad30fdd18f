package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// service is the connector contract over a Handler.
type service struct {
	connectorv1.UnimplementedConnectorServiceServer
	handler  Handler
	describe *connectorv1.DescribeResponse
	log      *slog.Logger
	places   chan struct{} // one for each lookup that runs now
	orders   *orders
	events   *eventMemory

	encoders sync.Pool     // of *encoder
	draining chan struct{} // closed when the server stops
	drain    time.Duration // how long streams may go on after that

	stop  context.CancelFunc // ends what runs on behind the calls
	tasks sync.WaitGroup     // lookups and orders that run
}

func newService(cfg Config, h Handler) (*service, error) {
	life, stop := context.WithCancel(context.Background())
	s := &service{
		handler:  h,
		describe: cfg.describe(h),
		log:      cfg.Logger,
		places:   make(chan struct{}, cfg.Concurrency),
		events:   newEventMemory(),
		encoders: sync.Pool{New: func() any { return newEncoder() }},
		draining: make(chan struct{}),
		drain:    cfg.DrainTimeout,
		stop:     stop,
	}
	journal, err := openJournal(cfg.OrderJournal)
	if err != nil {
		stop()
		return nil, fmt.Errorf("order journal: %w", err)
	}
	s.orders = &orders{
		journal: journal, handler: h, log: cfg.Logger, life: life,
		timeout: cfg.UnbindTimeout, tasks: &s.tasks,
	}
	return s, nil
}

// close waits for handlers that still run, but not longer than wait, as one
// that ignores its context would hold the process forever.
func (s *service) close(wait time.Duration) error {
	s.stop()
	done := make(chan struct{})
	go func() { s.tasks.Wait(); close(done) }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return s.orders.journal.close()
}

// Describe implements the contract.
func (s *service) Describe(context.Context, *connectorv1.DescribeRequest) (*connectorv1.DescribeResponse, error) {
	return s.describe, nil
}

// guard calls f and turns a panic into an error, for handler calls that run in
// goroutines of their own, where nothing else would catch it.
func guard[T any](log *slog.Logger, where string, f func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			logPanic(log, where, r)
			err = errors.New("the handler panicked")
		}
	}()
	return f()
}

// hidden keeps RetryInfo and the code of a handler's error where it means "later",
// and replaces the text, which may hold anything. Other codes become INTERNAL:
// a NOT_FOUND of the platform's own database says nothing about an order.
func hidden(err error) error {
	code := codes.Internal
	var details []protoadapt.MessageV1
	if st, ok := status.FromError(err); ok {
		code = st.Code()
		for _, d := range st.Details() {
			if r, ok := d.(*errdetails.RetryInfo); ok {
				details = append(details, protoadapt.MessageV1Of(r))
			}
		}
	} else if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		code = codes.Unavailable
	}
	switch code {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
	default:
		code = codes.Internal
	}
	st := status.New(code, "the platform could not do this now")
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}

// invalid names the field at fault and what it should be, never what it was.
func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// validPhone accepts a mainland mobile number in E.164.
func validPhone(s string) bool {
	if len(s) != 14 || s[:4] != "+861" || s[4] < '3' {
		return false
	}
	for _, c := range []byte(s[4:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// validRef accepts 1 to 64 bytes of printable ASCII.
func validRef(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
