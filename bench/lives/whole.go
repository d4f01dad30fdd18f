package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// platforms is how many the orders of whole are for.
const platforms = 20

// whole is the hub's store through its ports: orders are sealed, have a history,
// indexes, tallies, a daily count and the key of their request.
type whole struct {
	store   *bolt.Store
	number  phone.Number
	made    atomic.Int64
	workers workers[unbind.Claim]
}

func openWhole(_ context.Context, at place, finished func(int, error)) (queue, error) {
	keyFile := filepath.Join(at.dir, "keys.json")
	if err := seal.Create(keyFile); err != nil {
		return nil, err
	}
	keys, err := seal.Load(keyFile)
	if err != nil {
		return nil, err
	}
	number, err := phone.ParseNumber("13800130001")
	if err != nil {
		return nil, err
	}
	store, err := bolt.Open(filepath.Join(at.dir, "hub.db"), keys)
	if err != nil {
		return nil, err
	}
	q := &whole{store: store, number: number}
	q.workers = workers[unbind.Claim]{claim: q.claim, finish: q.finish, told: finished}
	q.workers.start()
	return q, nil
}

// Enqueue is the request of a person who has made none before.
func (q *whole) Enqueue(ctx context.Context) error {
	now := time.Now()
	var subject phone.Subject
	var index phone.Index
	_, _ = rand.Read(subject[:])
	_, _ = rand.Read(index[:])
	at := platform.ID(fmt.Sprintf("platform-%02d", q.made.Add(1)%platforms))
	o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{
		Platform: at, Subject: subject, NumberIndex: index, Number: q.number, AccountRefs: []string{"account-1"}, BoundBefore: now,
	})
	_, err := q.store.Enqueue(ctx, unbind.Enqueue{
		Subject: subject, NumberIndex: index, RequestKey: [32]byte(seal.Token(32)), DailyLimit: 10, Now: now,
		Items: []unbind.Item{{Platform: at, Order: &o}},
	})
	q.workers.due()
	return err
}

func (q *whole) claim(ctx context.Context, most int) ([]unbind.Claim, error) {
	claims, _, err := q.store.Claim(ctx, unbind.ClaimRequest{
		Now: time.Now(), Lease: time.Minute, Max: most, Free: func(platform.ID) int { return most },
	})
	if ctx.Err() != nil {
		return nil, nil
	}
	return claims, err
}

// finish is a platform that says at once that all is done.
func (q *whole) finish(ctx context.Context, c unbind.Claim) error {
	now := time.Now()
	done := unbind.Answered(unbind.Attempt{Began: now, Ended: now}, platform.Report{Stage: platform.StageCompleted, Time: now}, time.Time{})
	_, err := q.store.Finish(context.WithoutCancel(ctx), c, done)
	return err
}

func (q *whole) Close() error {
	q.workers.close()
	return q.store.Close()
}
