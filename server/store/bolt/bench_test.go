//go:build linux

package bolt_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// crowds are how many write at a time.
func crowds() []int { return []int{1, 16, 128, 1024} }

// BenchmarkEnqueue is a person's whole order: sealed, indexed, counted and
// remembered. TMPDIR chooses the disk.
func BenchmarkEnqueue(b *testing.B) {
	number, err := phone.ParseNumber("13800130001")
	if err != nil {
		b.Fatal(err)
	}
	eachCrowd(b, func(b *testing.B) func() error {
		dir := b.TempDir()
		s, err := bolt.Open(filepath.Join(dir, "hub.db"), keysIn(b, dir))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return func() error {
			now := time.Now()
			e := unbind.Enqueue{RequestKey: [32]byte(seal.Token(32)), DailyLimit: 10, Now: now}
			_, _ = rand.Read(e.Subject[:])
			_, _ = rand.Read(e.NumberIndex[:])
			o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{
				Platform: "shop", Subject: e.Subject, NumberIndex: e.NumberIndex, Number: number, AccountRefs: []string{"account-1"}, BoundBefore: now,
			})
			e.Items = []unbind.Item{{Platform: "shop", Order: &o}}
			_, err := s.Enqueue(b.Context(), e)
			return err
		}
	})
}

// BenchmarkCommitter is the smallest of verbs: one put.
func BenchmarkCommitter(b *testing.B) {
	eachCrowd(b, func(b *testing.B) func() error {
		db, err := group.Open(filepath.Join(b.TempDir(), "put.db"), group.Options{Buckets: [][]byte{[]byte("b")}, Begin: func(*group.Tx) error { return nil }})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		return func() error {
			k, v := smallRecord()
			return db.Update(b.Context(), func(tx *group.Tx) error { return tx.Bucket([]byte("b")).Put(k, v) })
		}
	})
}

// eachCrowd measures a way to write and, as long as that took, what the same
// disk and bbolt's own batching do: x_fdatasync and x_batch are how many times
// that much it is.
func eachCrowd(b *testing.B, begin func(*testing.B) func() error) {
	for _, n := range crowds() {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			write := begin(b)
			b.ResetTimer()
			took := crowd(b, n, b.N, write)
			b.StopTimer()
			rate := float64(b.N) / took.Seconds()
			b.ReportMetric(rate, "writes/s")
			b.ReportMetric(rate/ratePer(b, 1, took, fdatasync(b)), "x_fdatasync")
			b.ReportMetric(rate/ratePer(b, n, took, batch(b)), "x_batch")
		})
	}
}

// crowd has n writers share total writes.
func crowd(b *testing.B, n, total int, write func() error) time.Duration {
	var left atomic.Int64
	left.Store(int64(total))
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := write(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// ratePer is how many writes a second n writers do in about the given time.
func ratePer(b *testing.B, n int, about time.Duration, write func() error) float64 {
	var count atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			for ok := true; ok; ok = time.Since(began) < about {
				if err := write(); err != nil {
					b.Error(err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(count.Load()) / time.Since(began).Seconds()
}

func smallRecord() (k, v []byte) {
	r := make([]byte, 16+128)
	_, _ = rand.Read(r)
	return r[:16], r[16:]
}

// fdatasync writes one page and waits until it is on disk.
func fdatasync(b *testing.B) func() error {
	f, err := os.Create(filepath.Join(b.TempDir(), "page"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	page := make([]byte, 4096)
	return func() error {
		_, _ = rand.Read(page[:16])
		if _, err := f.WriteAt(page, 0); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	}
}

// batch puts with bbolt's own way to share transactions, and the hub's options.
func batch(b *testing.B) func() error {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "batch.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("b"))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return func() error {
		k, v := smallRecord()
		return db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put(k, v) })
	}
}
