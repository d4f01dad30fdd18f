package link

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

// remote is a platform that is reached over gRPC. It implements
// platform.Platform.
type remote struct {
	opts    *Options
	log     *slog.Logger
	conn    *grpc.ClientConn
	client  connectorv1.ConnectorServiceClient
	trouble *trouble
	queue   queue
	batches batches

	stream    atomic.Pointer[stream] // nil where none is open
	badStarts atomic.Int32           // streams in a row that came to nothing
	receivers sync.WaitGroup         // of streams

	ctx    context.Context // ends with the remote
	cancel context.CancelFunc
	prober sync.WaitGroup

	mu    sync.Mutex     // guards entry and changes of info
	entry platform.Entry // as the operator entered it
	info  atomic.Pointer[platform.Info]
}

// newRemote connects to the platform of the entry, whose address was checked. It
// doesn't wait for the connection.
func newRemote(opts *Options, e platform.Entry) (*remote, error) {
	trouble := &trouble{}
	conn, err := opts.open(pki.RolePlatform, e.ID, e.Address, trouble)
	if err != nil {
		return nil, err
	}
	r := &remote{
		opts:    opts,
		log:     opts.Logger.With("platform", string(e.ID)),
		conn:    conn,
		client:  connectorv1.NewConnectorServiceClient(conn),
		trouble: trouble,
		entry:   e,
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.info.Store(&platform.Info{Entry: e, MaxBatch: 1, Health: platform.HealthUnknown})
	r.queue.ctx, r.queue.courier, r.queue.size, r.queue.most, r.queue.broke = r.ctx, r.way, r.batchSize, opts.MaxQueued, r.cutStream
	r.queue.now = opts.now
	if opts.Span != nil {
		r.queue.span = func(trace string) (string, func(string)) { return opts.Span(trace, e.ID, "lookup") }
	}
	r.batches.q, r.batches.client, r.batches.slots = &r.queue, r.client, opts.MaxInFlight
	r.queue.start()
	r.prober.Go(r.probe)
	return r, nil
}

// Info is what is known now. Its slices are shared and must not be changed.
func (r *remote) Info() platform.Info { return *r.info.Load() }

func (r *remote) batchSize() int { return r.info.Load().MaxBatch }

// Ask puts a question; see queue for when the call ends.
func (r *remote) Ask(c *platform.Call) { r.queue.ask(c) }

// Withdraw takes a question back.
func (r *remote) Withdraw(c *platform.Call) { r.queue.withdraw(c) }

// setEntry takes over what an operator changed. What the connector said of
// itself stays.
func (r *remote) setEntry(e platform.Entry) {
	r.change(func(i *platform.Info) {
		r.entry = e
		if !i.LastSeen.IsZero() {
			e.Functions = i.Functions
		}
		if e.DisplayName == "" {
			e.DisplayName = i.DisplayName
		}
		if e.SelfServiceURL == "" {
			e.SelfServiceURL = i.SelfServiceURL
		}
		i.Entry = e
	})
}

// change applies one change to a copy of the info, with the mutex held.
func (r *remote) change(f func(*platform.Info)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.info.Load()
	f(&next)
	r.info.Store(&next)
}

// within bounds a call by d and by the life of the remote.
func (r *remote) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(r.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// mostBadStarts is how many streams in a row may come to nothing before the next
// description has to say again that they are offered.
const mostBadStarts = 3

// way is how the next frame goes: on the stream where the connector offers one,
// else as a batch. Only the pump calls it; it may wait for the connection.
func (r *remote) way() courier {
	if !r.streaming() {
		return &r.batches
	}
	if s := r.stream.Load(); s != nil && !s.isOver() {
		return s
	}
	s, err := openStream(&r.queue, r.client, &r.receivers, r.streamEnded)
	if err != nil {
		r.badStarts.Add(1)
		return &r.batches
	}
	r.stream.Store(s)
	return s
}

// streaming reports whether lookups go over a stream.
func (r *remote) streaming() bool {
	return r.info.Load().Streams && r.badStarts.Load() < mostBadStarts
}

// streamEnded is told of every stream that ended, and why.
func (r *remote) streamEnded(s *stream, err error) {
	r.stream.CompareAndSwap(s, nil)
	switch {
	case r.ctx.Err() != nil:
	case notOffered(err):
		r.badStarts.Store(mostBadStarts)
		r.log.Warn("platform offers a stream but does not serve it")
	case s.sound() && !breach(err): // else a flood would go on over stream after stream
		r.badStarts.Store(0)
	default:
		r.badStarts.Add(1)
	}
}

// cutStream ends a stream on which no answer comes any more; the next question
// opens another.
func (r *remote) cutStream() {
	if s := r.stream.Load(); s != nil {
		s.cancel()
	}
}

// close finishes every call, as silent where it had no answer, and returns when
// no goroutine of the remote is left.
func (r *remote) close() {
	r.queue.shut()
	r.cancel()
	r.prober.Wait()
	r.queue.running.Wait()
	r.batches.calls.Wait()
	r.receivers.Wait()
	_ = r.conn.Close() // fails only where closed before
}
