package gateway

import (
	"context"

	"google.golang.org/grpc"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// watcher waits for a watch's first frame before it returns the stream. An
// error before any frame, such as an ended session, is then answered like the
// error of any other request; only a later one becomes an {"error":…} frame.
type watcher struct{ hubv1.LookupServiceClient }

type frames = grpc.ServerStreamingClient[hubv1.WatchLookupResponse]

func (w watcher) WatchLookup(ctx context.Context, in *hubv1.WatchLookupRequest, opts ...grpc.CallOption) (frames, error) {
	s, err := w.LookupServiceClient.WatchLookup(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	first, err := s.Recv()
	if err != nil {
		return nil, err
	}
	return &primed{s, first}, nil
}

// primed is a stream whose first frame was taken already.
type primed struct {
	frames
	first *hubv1.WatchLookupResponse
}

func (p *primed) Recv() (*hubv1.WatchLookupResponse, error) {
	if f := p.first; f != nil {
		p.first = nil
		return f, nil
	}
	return p.frames.Recv()
}
