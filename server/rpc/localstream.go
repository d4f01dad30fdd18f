package rpc

import (
	"cmp"
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tongcha/tongcha/server/fault"
)

// localStream is a server-streaming call. A frame is handed from one side to the
// other, so that a handler is never ahead of its client by more than the frame
// it waits with.
type localStream struct {
	local  *Local
	ctx    context.Context    // the client's
	inner  context.Context    // the handler's
	asked  chan proto.Message // the one request; closed when nothing more comes
	frames chan any
	done   chan struct{} // closed when the handler has returned
	err    error         // how it ended; read after done
	tooBig error         // what the client is told of its request, whatever the handler makes of it
}

// NewStream implements grpc.ClientConnInterface. As with any gRPC stream, the
// caller reads it to its end or ends ctx.
func (l *Local) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if d.ClientStreams {
		return nil, status.Error(codes.Unimplemented, "no streams of requests")
	}
	inner, end, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	s := &localStream{
		local: l, ctx: ctx, inner: inner,
		asked: make(chan proto.Message, 1), frames: make(chan any), done: make(chan struct{}),
	}
	go func() {
		defer end()
		defer close(s.done)
		err := s.run(method)
		s.err = cmp.Or(s.tooBig, err)
	}()
	return &clientEnd{localStream: s}, nil
}

// run runs the handler behind the interceptor, and what is no stream into the
// interceptor's refusal.
func (s *localStream) run(method string) error {
	m := s.local.methods[method]
	handler := grpc.StreamHandler(func(any, grpc.ServerStream) error { return fault.MethodUnknown.New() })
	if m.stream != nil && !m.stream.ClientStreams {
		handler = m.stream.Handler
	}
	info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}
	return s.local.stream(m.service, &serverEnd{s}, info, handler)
}

// serverEnd is what the handler holds.
type serverEnd struct{ *localStream }

func (s *serverEnd) Context() context.Context     { return s.inner }
func (s *serverEnd) SetHeader(metadata.MD) error  { return nil }
func (s *serverEnd) SendHeader(metadata.MD) error { return nil }
func (s *serverEnd) SetTrailer(metadata.MD)       {}

// SendMsg waits until the client takes the frame.
func (s *serverEnd) SendMsg(m any) error {
	select {
	case s.frames <- m:
		return nil
	case <-s.inner.Done():
		return wireError(s.inner.Err())
	}
}

func (s *serverEnd) RecvMsg(m any) error {
	select {
	case r, ok := <-s.asked:
		if !ok {
			return io.EOF
		}
		s.tooBig = take(m, r)
		return s.tooBig
	case <-s.inner.Done():
		return wireError(s.inner.Err())
	}
}

// clientEnd is what the gateway holds. Its methods are for one goroutine.
type clientEnd struct {
	*localStream
	sent bool
}

func (s *clientEnd) Context() context.Context     { return s.ctx }
func (s *clientEnd) Header() (metadata.MD, error) { return nil, nil }
func (s *clientEnd) Trailer() metadata.MD         { return nil }

// SendMsg hands over the one request.
func (s *clientEnd) SendMsg(m any) error {
	if s.sent {
		return status.Error(codes.Internal, "a second request in a stream of answers")
	}
	request, err := copied(m)
	if err != nil {
		return err
	}
	s.asked <- request
	return s.CloseSend()
}

func (s *clientEnd) CloseSend() error {
	if !s.sent {
		s.sent = true
		close(s.asked)
	}
	return nil
}

func (s *clientEnd) RecvMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return wireError(err)
	}
	select {
	case frame := <-s.frames:
		return give(m, frame)
	case <-s.done:
		if s.err != nil {
			return wireError(s.err)
		}
		return io.EOF
	case <-s.ctx.Done():
		return wireError(s.ctx.Err())
	case <-s.local.broken:
		return shuttingDown()
	}
}
