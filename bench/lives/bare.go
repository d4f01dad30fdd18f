package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

var (
	bucketOrders = []byte("orders") // id → state and value
	bucketDue    = []byte("due")    // time id → nothing; open orders
)

// bare is the least that the hub's committer can make a queue of: a record and an
// entry in an index by time. A lease is in memory; the end of an order replaces
// its record.
type bare struct {
	db      *group.DB
	workers workers[bareClaim]

	mu     sync.Mutex
	leased map[string]bool
}

type bareClaim struct {
	due, value []byte
}

const (
	timeLen               = 8
	stateOpen, stateEnded = 0, 1
)

func openBare(_ context.Context, at place, finished func(int, error)) (queue, error) {
	db, err := group.Open(filepath.Join(at.dir, "bare.db"), group.Options{
		Buckets: [][]byte{bucketOrders, bucketDue}, Growing: [][]byte{bucketOrders, bucketDue}, Begin: func(*group.Tx) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	q := &bare{db: db, leased: make(map[string]bool)}
	q.workers = workers[bareClaim]{claim: q.claim, finish: q.finish, told: finished}
	q.workers.start()
	return q, nil
}

func (q *bare) Enqueue(ctx context.Context) error {
	now := time.Now()
	id := []byte(seal.NewID(now))
	value := make([]byte, 1+valueSize) // the first byte is the state
	_, _ = rand.Read(value[1:])
	due := append(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())), id...)
	err := q.db.Update(ctx, func(tx *group.Tx) error {
		return errors.Join(tx.Bucket(bucketOrders).Put(id, value), tx.Bucket(bucketDue).Put(due, nil))
	})
	q.workers.due()
	return err
}

func (q *bare) claim(ctx context.Context, most int) ([]bareClaim, error) {
	var claims []bareClaim
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.db.View(ctx, func(tx *group.Tx) error {
		c := tx.Bucket(bucketDue).Cursor()
		for k, _ := c.First(); k != nil && len(claims) < most; k, _ = c.Next() {
			if !q.leased[string(k)] {
				q.leased[string(k)] = true
				claims = append(claims, bareClaim{due: bytes.Clone(k), value: bytes.Clone(tx.Bucket(bucketOrders).Get(k[timeLen:]))})
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil, nil
	}
	return claims, err
}

func (q *bare) finish(ctx context.Context, c bareClaim) error {
	c.value[0] = stateEnded
	err := q.db.Update(context.WithoutCancel(ctx), func(tx *group.Tx) error {
		return errors.Join(tx.Bucket(bucketOrders).Put(c.due[timeLen:], c.value), tx.Bucket(bucketDue).Delete(c.due))
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.leased, string(c.due))
	return err
}

func (q *bare) Close() error {
	q.workers.close()
	return q.db.Close()
}
