package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// queue is a hub's store that orders are put into.
type queue struct {
	dir    string
	random bool // ids are random instead of growing with time
	store  *bolt.Store
	number phone.Number
	open   int
	first  time.Time
	once   sync.Once
}

func open(dir string, random bool) (*queue, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "keys.json")
	if err := seal.Create(keyFile); err != nil {
		return nil, err
	}
	keys, err := seal.Load(keyFile)
	if err != nil {
		return nil, err
	}
	q := &queue{dir: dir, random: random, first: time.Now().Add(-4 * 24 * time.Hour)}
	if q.number, err = phone.ParseNumber("13800130001"); err != nil {
		return nil, err
	}
	q.store, err = bolt.Open(q.file(), keys)
	return q, err
}

// file is the database's name in a data folder.
func (q *queue) file() string { return filepath.Join(q.dir, "tongcha.db") }

func (q *queue) close() (err error) {
	q.once.Do(func() { err = q.store.Close() })
	return err
}

func (q *queue) size() (int64, error) {
	info, err := os.Stat(q.file())
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// crowd is how many people order at a time: a commit takes all of them.
const crowd = 512

// fill enqueues until n orders are open, one person after the other, and says how
// far it is every 10 s.
func (q *queue) fill(out io.Writer, n, perPerson int) error {
	var next atomic.Int64
	next.Store(int64(q.open))
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	said := time.NewTicker(10 * time.Second)
	defer said.Stop()
	done := make(chan struct{})
	for range crowd {
		wg.Go(func() {
			for failed.Load() == nil {
				from := next.Add(int64(perPerson)) - int64(perPerson)
				if from >= int64(n) {
					return
				}
				if err := q.request(int(from), perPerson); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-said.C:
			_, _ = fmt.Fprintf(out, "%d of %d orders\n", next.Load(), n)
			continue
		case <-done:
		}
		break
	}
	q.open = n
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// request is the request of a person who has made none before. The i-th order is
// taken i times a third of a second after the first.
func (q *queue) request(i, orders int) error {
	now := q.first.Add(time.Duration(i) * time.Second / 3)
	e := unbind.Enqueue{RequestKey: [32]byte(seal.Token(32)), DailyLimit: 20, Now: now}
	_, _ = rand.Read(e.Subject[:])
	_, _ = rand.Read(e.NumberIndex[:])
	for j := range orders {
		at := platform.ID(fmt.Sprintf("platform-%02d", (i+j)%platforms))
		o := unbind.New(q.id(now), now, now.Add(7*24*time.Hour), unbind.Order{
			Platform: at, Subject: e.Subject, NumberIndex: e.NumberIndex, Number: q.number, AccountRefs: []string{"account-1"}, BoundBefore: now, HolderChecked: now,
		})
		e.Items = append(e.Items, unbind.Item{Platform: at, Order: &o})
	}
	_, err := q.store.Enqueue(context.Background(), e)
	return err
}

func (q *queue) id(now time.Time) string {
	if !q.random {
		return seal.NewID(now)
	}
	var b [8]byte
	_, _ = rand.Read(b[2:])
	return seal.NewID(time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]) >> 1)))
}

func (q *queue) claim() ([]unbind.Claim, error) {
	claims, _, err := q.store.Claim(context.Background(), unbind.ClaimRequest{
		Now: time.Now().Add(365 * 24 * time.Hour), Lease: time.Hour, Max: batch, Free: func(platform.ID) int { return batch / platforms },
	})
	if err == nil && len(claims) != batch {
		err = fmt.Errorf("claimed %d orders, want %d", len(claims), batch)
	}
	return claims, err
}

// claimCost is what a claim of 100 due orders takes.
func claimCost(q *queue) (time.Duration, error) {
	var all []time.Duration
	for range 5 * rounds {
		began := time.Now()
		claims, err := q.claim()
		all = append(all, time.Since(began))
		if err != nil {
			return 0, err
		}
		for i := 1; i < len(claims); i++ {
			if claims[i].Order.NextTime.Before(claims[i-1].Order.NextTime) {
				return 0, fmt.Errorf("order %d of a claim is due before the one ahead of it", i)
			}
		}
		q.store.Release(context.Background(), claims)
	}
	return median(all), nil
}

// commitCosts is what it takes, in each queue, to finish 100 orders and take 100
// new ones, all at once.
func commitCosts(a, b *queue) (forA, forB time.Duration, err error) {
	var costs [2][]time.Duration
	for range rounds {
		for i, q := range []*queue{a, b} {
			cost, err := q.turnover()
			if err != nil {
				return 0, 0, err
			}
			costs[i] = append(costs[i], cost)
		}
	}
	return median(costs[0]), median(costs[1]), nil
}

func (q *queue) turnover() (time.Duration, error) {
	claims, err := q.claim()
	if err != nil {
		return 0, err
	}
	errs := make(chan error, 2*batch)
	began := time.Now()
	for i, c := range claims {
		go func() {
			now := time.Now()
			done := unbind.Answered(unbind.Attempt{Began: now, Ended: now}, platform.Report{Stage: platform.StageCompleted, Time: now}, time.Time{})
			_, err := q.store.Finish(context.Background(), c, done)
			errs <- err
		}()
		go func() { errs <- q.request(q.open+i, 1) }()
	}
	for range 2 * batch {
		if e := <-errs; e != nil {
			err = e
		}
	}
	q.open += batch
	return time.Since(began), err
}
