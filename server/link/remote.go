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
	r.queue.send, r.queue.maxBatch, r.queue.parent = r.lookup, r.batchSize, r.ctx
	r.queue.slots, r.queue.limit = opts.MaxInFlight, opts.MaxQueued
	if opts.Span != nil {
		r.queue.span = func(parent string) (string, func(string)) { return opts.Span(parent, e.ID, "lookup") }
	}
	r.queue.items = make(map[*platform.Call]*item)
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

// close finishes every call, as silent where it had no answer, and returns when
// no goroutine of the remote is left.
func (r *remote) close() {
	r.queue.shut()
	r.cancel()
	r.prober.Wait()
	r.queue.wait()
	_ = r.conn.Close() // fails only where closed before
}
