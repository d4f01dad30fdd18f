// Command enqueue measures how many writes a second the hub's file takes, beside
// what the same disk can do and what bbolt's own batching makes of it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// valueSize is about a small record of the hub; keys are 16 random bytes.
const valueSize = 128

func main() {
	dir := flag.String("dir", ".", "a folder on the disk to measure; a folder is made in it and removed")
	seconds := flag.Int("seconds", 26, "how long to measure, all in all")
	flag.Parse()
	if err := run(os.Stdout, *dir, time.Duration(*seconds)*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "enqueue:", err)
		os.Exit(1)
	}
}

// line is one line of the table: so many writers that write in one way.
type line struct {
	what    string
	writers int
	way     way
	plain   bool // no database
	writes  float64
	commits float64
	took    time.Duration
}

func (l *line) rate() float64 { return l.writes / l.took.Seconds() }

// lines begin with the disk alone; then come, for each number of writers, bbolt's
// own batching and what is held against it.
func lines() []*line {
	all := []*line{{what: "4 KiB page + fdatasync", writers: 1, way: page, plain: true}}
	for _, n := range []int{1, 16, 128, 1024} {
		all = append(all,
			&line{what: "db.Batch, one put", writers: n, way: batch},
			&line{what: "committer, one put", writers: n, way: bare},
			&line{what: "Enqueue, one order", writers: n, way: enqueue})
	}
	return all
}

// run measures every line for an equal share of the time, in rounds, so that a
// disturbance from outside does not meet one line alone.
func run(out io.Writer, dir string, total time.Duration) (err error) {
	dir, err = os.MkdirTemp(dir, "enqueue-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const rounds = 4
	all := lines()
	b := &bench{dir: dir, each: total / time.Duration(rounds*len(all))}
	for range rounds {
		for _, l := range all {
			if err := b.measure(l); err != nil {
				return fmt.Errorf("%s, %d writers: %w", l.what, l.writers, err)
			}
		}
	}
	return table(out, all)
}

// table prints the lines; what fails to be written, Flush tells.
func table(out io.Writer, all []*line) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "what\twriters\twrites/s\tx fdatasync\tx db.Batch\twrites/commit\t")
	disk := all[0].rate()
	_, _ = fmt.Fprintf(w, "%s\t%d\t%.0f\t1.00\t\t\t\n", all[0].what, all[0].writers, disk)
	var batch float64
	for i, l := range all[1:] {
		if i%3 == 0 {
			batch = l.rate()
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.0f\t%.2f\t%.2f\t%.1f\t\n", l.what, l.writers, l.rate(), l.rate()/disk, l.rate()/batch, l.writes/l.commits)
	}
	return w.Flush()
}

type bench struct {
	dir  string
	each time.Duration
	made int
}

// file names a new file.
func (b *bench) file() string {
	b.made++
	return filepath.Join(b.dir, fmt.Sprintf("%d.db", b.made))
}

// writers has n of them write until the time is over, and returns how many
// writes that were.
func (b *bench) writers(n int, write func() error) (float64, time.Duration, error) {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			for time.Since(began) < b.each && failed.Load() == nil {
				if err := write(); err != nil {
					failed.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return float64(count.Load()), time.Since(began), nil
}

var bucket = []byte("b")

func record() (k, v []byte) {
	b := make([]byte, 16+valueSize)
	_, _ = rand.Read(b)
	return b[:16], b[16:]
}

// way opens a file and returns how to write to it, and how to close it.
type way func(path string) (write, end func() error, err error)

// measure does one round of a line, in a file of its own.
func (b *bench) measure(l *line) error {
	path := b.file()
	write, end, err := l.way(path)
	if err != nil {
		return err
	}
	count, took, err := b.writers(l.writers, write)
	if err = errors.Join(err, end()); err != nil {
		return err
	}
	l.writes, l.took = l.writes+count, l.took+took
	if l.plain {
		return os.Remove(path)
	}
	commits, err := commitsIn(path)
	l.commits += commits
	return errors.Join(err, os.Remove(path))
}

// page is how often the disk takes one page.
func page(path string) (write, end func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	p := make([]byte, 4096)
	return func() error {
		_, _ = rand.Read(p[:16])
		if _, err := f.WriteAt(p, 0); err != nil {
			return err
		}
		return datasync(f)
	}, f.Close, nil
}

// commitsIn reads how many transactions a file has seen; those that opened it
// are too few to matter.
func commitsIn(path string) (float64, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	tx, err := db.Begin(false)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	return float64(tx.ID()), nil
}

// batch is bbolt's own way to share transactions, with the options of the hub.
func batch(path string) (write, end func() error, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	return func() error {
		k, v := record()
		return db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(k, v) })
	}, db.Close, err
}

// bare is what the committer does for the smallest of verbs.
func bare(path string) (write, end func() error, err error) {
	db, err := group.Open(path, group.Options{Buckets: [][]byte{bucket}, Begin: func(*group.Tx) error { return nil }})
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		k, v := record()
		return db.Update(context.Background(), func(tx *group.Tx) error { return tx.Bucket(bucket).Put(k, v) })
	}, db.Close, nil
}

// enqueue is a person's whole order: sealed, indexed, counted and remembered.
func enqueue(path string) (write, end func() error, err error) {
	if err := seal.Create(path + ".keys"); err != nil {
		return nil, nil, err
	}
	keys, err := seal.Load(path + ".keys")
	if err != nil {
		return nil, nil, err
	}
	s, err := bolt.Open(path, keys)
	if err != nil {
		return nil, nil, err
	}
	number, err := phone.ParseNumber("13800130001")
	return func() error {
		_, err := s.Enqueue(context.Background(), order(number))
		return err
	}, s.Close, err
}

// order is the request of a person who has made none before.
func order(n phone.Number) unbind.Enqueue {
	now := time.Now()
	var subject phone.Subject
	var index phone.Index
	_, _ = rand.Read(subject[:])
	_, _ = rand.Read(index[:])
	o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{
		Platform: "shop", Subject: subject, NumberIndex: index, Number: n, AccountRefs: []string{"account-1"}, BoundBefore: now,
	})
	return unbind.Enqueue{
		Subject: subject, NumberIndex: index, RequestKey: [32]byte(seal.Token(32)), DailyLimit: 10, Now: now,
		Items: []unbind.Item{{Platform: "shop", Order: &o}},
	}
}
