package link

import (
	"context"
	"sync"
	"time"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// batches is the courier that every connector understands: each frame is one
// LookupBindings call, with several in flight.
type batches struct {
	q      *queue
	client connectorv1.ConnectorServiceClient
	slots  int // calls in flight at least
	calls  sync.WaitGroup
	flying int // guarded by the queue's mutex
}

// smallSlots is how many questions may be in flight where batches are small, so
// that a platform that takes one at a time isn't asked a few at a time.
const smallSlots = 64

// batch is one call in flight.
type batch struct {
	live   int // questions not withdrawn; guarded by the queue's mutex
	ctx    context.Context
	cancel context.CancelFunc
}

func (b *batches) room() int {
	if b.flying >= max(b.slots, smallSlots/max(b.q.size(), 1)) {
		return 0
	}
	return mostOpen
}

func (b *batches) take(taken []*question) bool {
	b.flying++
	one := &batch{live: len(taken)}
	var last time.Time
	for _, q := range taken {
		q.via = one
		if d := q.item.deadline(); d.After(last) {
			last = d
		}
	}
	one.ctx, one.cancel = context.WithDeadline(b.q.ctx, last)
	return true
}

// drop cancels the call when nobody waits for any of its answers.
func (b *batch) drop(*question) {
	if b.live--; b.live == 0 {
		b.cancel()
	}
}

// carry sends a call and returns at once. A unary call has no place for what was
// withdrawn from others.
func (b *batches) carry(taken []*question, _ []uint64) {
	b.calls.Go(func() {
		one := taken[0].via.(*batch)
		answers := b.lookup(one.ctx, taken)
		now := time.Now()
		list := make([]settled, len(taken))
		for i, q := range taken {
			list[i] = settled{q, answers[i]}
		}
		b.q.mu.Lock()
		b.flying--
		b.q.mu.Unlock()
		b.q.answered(list, now)
		one.cancel()
		b.q.wake()
	})
}

// lookup asks one batch and checks every answer. It returns one answer for each
// question, whatever happens.
func (b *batches) lookup(ctx context.Context, taken []*question) []platform.Answer {
	resp, err := b.client.LookupBindings(ctx, request(ctx, taken), bounded(len(taken))...)
	if err != nil {
		return all(taken, platform.Answer{State: platform.Silent, Malformed: breach(err)})
	}
	return checkAnswers(taken, resp.GetAnswers(), b.q.now())
}

func all(taken []*question, a platform.Answer) []platform.Answer {
	out := make([]platform.Answer, len(taken))
	for i := range out {
		out[i] = a
	}
	return out
}
