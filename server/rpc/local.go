package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tongcha/tongcha/server/fault"
)

// Local leads from the gateway to the handlers without a connection: the same
// interceptors, and what a gRPC client sees of deadlines, cancellation and
// errors, but no frames and no encoding.
//
// It knows what the gateway needs: unary and server-streaming calls of protobuf
// messages. Call options, headers and trailers are ignored; no handler sends
// any, and the gateway passes none on.
type Local struct {
	unary   grpc.UnaryServerInterceptor
	stream  grpc.StreamServerInterceptor
	methods map[string]localMethod

	broken chan struct{} // closed when running calls are cut off

	mu      sync.Mutex
	closed  bool
	last    uint64                        // the newest call
	cancels map[uint64]context.CancelFunc // of the calls that run
	running sync.WaitGroup
}

// localMethod is a method by its full name; one of unary and stream is set.
type localMethod struct {
	service any
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc
}

// Local makes the gateway's way to the handlers. Stop ends it.
func (s *Server) Local() *Local {
	l := &Local{
		unary: s.unary(true), stream: s.stream(true), methods: make(map[string]localMethod),
		broken: make(chan struct{}), cancels: make(map[uint64]context.CancelFunc),
	}
	s.register(l)
	return l
}

// RegisterService implements grpc.ServiceRegistrar.
func (l *Local) RegisterService(d *grpc.ServiceDesc, service any) {
	for i := range d.Methods {
		l.methods["/"+d.ServiceName+"/"+d.Methods[i].MethodName] = localMethod{service: service, unary: &d.Methods[i]}
	}
	for i := range d.Streams {
		l.methods["/"+d.ServiceName+"/"+d.Streams[i].StreamName] = localMethod{service: service, stream: &d.Streams[i]}
	}
}

// Stop refuses new calls, waits for those that run, and cuts them off when ctx
// ends. Handlers have returned when it does; a second Stop does the same again.
func (l *Local) Stop(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	defer context.AfterFunc(ctx, l.cut)()
	l.running.Wait()
}

// cut ends the calls that run. Clients come first, and so learn that the hub
// stops, not what their handlers make of it.
func (l *Local) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.broken:
	default:
		close(l.broken)
	}
	for _, cancel := range l.cancels {
		cancel()
	}
}

// begin makes the context of a handler. It has the client's deadline and ends
// with the client's, with the handler, and when calls are cut off.
func (l *Local) begin(ctx context.Context) (inner context.Context, end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, wireError(err)
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy, its keys in lower case
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, shuttingDown()
	}
	inner, cancel := context.WithCancel(inside{ctx})
	l.last++
	call := l.last
	l.cancels[call] = cancel
	l.running.Add(1)
	return metadata.NewIncomingContext(inner, md), func() {
		cancel()
		l.mu.Lock()
		delete(l.cancels, call)
		l.mu.Unlock()
		l.running.Done()
	}, nil
}

// inside is a client's context without its values. Outgoing metadata is one of
// them: with it the person's token would go on to the platforms.
type inside struct{ context.Context }

func (inside) Value(any) any { return nil }

// AfterFunc saves package context a goroutine for each call: without values it
// can't find the client's context by itself.
func (c inside) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.Context, f) }

// reply is how a unary handler ended.
type reply struct {
	message any
	err     error
}

// Invoke implements grpc.ClientConnInterface. It returns at once when ctx ends,
// however long the handler then goes on.
func (l *Local) Invoke(ctx context.Context, method string, args, out any, _ ...grpc.CallOption) error {
	inner, end, err := l.begin(ctx)
	if err != nil {
		return err
	}
	request, err := copied(args)
	if err != nil {
		end()
		return err
	}
	done := make(chan reply, 1)
	go func() {
		defer end()
		var r reply
		r.message, r.err = l.call(inner, method, request)
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return wireError(r.err)
		}
		return give(out, r.message)
	case <-ctx.Done():
		return wireError(ctx.Err())
	case <-l.broken:
		return shuttingDown()
	}
}

// call runs a unary handler behind the interceptor, and what is no unary method
// into the interceptor's refusal.
func (l *Local) call(ctx context.Context, method string, request proto.Message) (any, error) {
	m := l.methods[method]
	if m.unary == nil {
		return l.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			return nil, fault.MethodUnknown.New()
		})
	}
	return m.unary.Handler(m.service, ctx, func(in any) error { return take(in, request) }, l.unary)
}

// copied is the client's message as the handler gets it: the handler may still
// read it when the client has long left and uses its own again.
func copied(m any) (proto.Message, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, status.Error(codes.Internal, "not a message")
	}
	return proto.Clone(p), nil
}

// take makes in the request, within the limit that every server has.
func take(in any, request proto.Message) error {
	if n := proto.Size(request); n > maxReceive {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, maxReceive)
	}
	return give(in, request)
}

// give makes out what message is. The parts of the message are not copied but
// change hands: gRPC forbids a handler to touch a message that it has returned or
// sent. An answer has no limit: it is in memory already.
func give(out, message any) error {
	to, ok := out.(proto.Message)
	from, isProto := message.(proto.Message)
	if !ok || !isProto || to.ProtoReflect().Descriptor() != from.ProtoReflect().Descriptor() {
		return status.Error(codes.Internal, "a message of another type")
	}
	proto.Reset(to)
	dst, src := to.ProtoReflect(), from.ProtoReflect()
	for fd, v := range src.Range {
		dst.Set(fd, v)
	}
	dst.SetUnknown(src.GetUnknown())
	return nil
}

// wireError is an error as a connection would bring it: a status, whatever it
// was before.
func wireError(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	return st.Err()
}

func shuttingDown() error { return Status(fault.ShuttingDown.New()).Err() }
