package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverOrder is a job of River.
type riverOrder struct {
	Value []byte `json:"value"`
}

// Kind implements river.JobArgs.
func (riverOrder) Kind() string { return "order" }

// riverWorker ends every job at once.
type riverWorker struct {
	river.WorkerDefaults[riverOrder]
}

// Work implements river.Worker.
func (riverWorker) Work(context.Context, *river.Job[riverOrder]) error { return nil }

// riverQueue is River. Its claims and ends are gathered by itself; inserts are
// too where gathered isn't nil.
type riverQueue struct {
	pool     *pgxpool.Pool
	client   *river.Client[pgx.Tx]
	gathered *gatherer[riverOrder]
	ended    func()
	counted  sync.WaitGroup
}

func riverArm(gathered bool) func(context.Context, place, func(int, error)) (queue, error) {
	return func(ctx context.Context, at place, finished func(int, error)) (queue, error) {
		q := new(riverQueue)
		if err := q.open(ctx, at.url); err != nil {
			return nil, errors.Join(err, q.Close())
		}
		q.count(finished)
		if gathered {
			q.gathered = gather(at.writers, groupMost, q.insert)
		}
		return q, q.client.Start(context.WithoutCancel(ctx))
	}
}

// groupMost bounds a group, as the hub's committer does.
const groupMost = 1024

func (q *riverQueue) open(ctx context.Context, url string) (err error) {
	if q.pool, err = connect(ctx, url, nil); err != nil {
		return err
	}
	m, err := rivermigrate.New(riverpgxv5.New(q.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	if err := fresh(ctx, q.pool, "river_job"); err != nil {
		return err
	}
	kinds := river.NewWorkers()
	river.AddWorker(kinds, riverWorker{})
	q.client, err = river.NewClient(riverpgxv5.New(q.pool), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: inFlight}},
		Workers:           kinds,
		FetchCooldown:     river.FetchCooldownMin,
		FetchPollInterval: idle,
		JobTimeout:        -1,
		Logger:            slog.New(slog.DiscardHandler),
	})
	return err
}

// count tells of the jobs whose end River has committed.
func (q *riverQueue) count(finished func(int, error)) {
	events, stop := q.client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 4 * maxOpen, Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed},
	})
	q.ended = stop
	q.counted.Go(func() {
		for e := range events {
			if e.Kind == river.EventKindJobFailed {
				finished(0, errors.New("a job failed"))
				continue
			}
			finished(1, nil)
		}
	})
}

func (q *riverQueue) Enqueue(ctx context.Context) error {
	o := riverOrder{Value: make([]byte, valueSize)}
	_, _ = rand.Read(o.Value)
	if q.gathered != nil {
		return q.gathered.do(o)
	}
	_, err := q.client.Insert(ctx, o, nil)
	return err
}

func (q *riverQueue) insert(orders []riverOrder) error {
	jobs := make([]river.InsertManyParams, len(orders))
	for i, o := range orders {
		jobs[i].Args = o
	}
	_, err := q.client.InsertManyFast(context.Background(), jobs)
	return err
}

func (q *riverQueue) Close() error {
	if q.gathered != nil {
		q.gathered.close()
	}
	var err error
	if q.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err = q.client.Stop(ctx)
	}
	if q.ended != nil {
		q.ended()
	}
	q.counted.Wait()
	if q.pool != nil {
		q.pool.Close()
	}
	return err
}
