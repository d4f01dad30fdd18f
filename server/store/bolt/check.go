package bolt

import (
	"context"
	"errors"
	"fmt"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// Pages is how a file's pages are used.
type Pages = group.Pages

// BucketPages is how the pages of one bucket are used.
type BucketPages = group.BucketPages

// Progress is told how far a long step is; it is called often and must be quick.
type Progress func(step string, done, total int64)

// CheckOptions says how a file is checked.
type CheckOptions struct {
	Keys     *seal.Keys // nil: secrets are not opened
	Progress Progress   // may be nil
}

// Report is what a check found.
type Report struct {
	Layout  int32
	Current bool // the layout is this program's; of an older one no index is checked
	Opened  bool // secrets were opened
	Pages   Pages
	// Problems are the first that were found of each bucket, in the order of the
	// file; Found counts all, by bucket, "" for those of none.
	Problems []Problem
	Found    map[string]int
}

// Problem is one thing that is wrong in a file.
type Problem struct {
	Bucket string // "" for one of the file
	Record string // an order's, lookup's or platform's id, else its place, such as "record 17"; "" for none
	Text   string
	Action string
}

// What to do about a problem.
const (
	restoreAdvice = "stop the hub, keep a copy of the file, and restore the last good backup: tongcha db restore FILE"
	orderAdvice   = "stop the hub, keep a copy of the file, and restore the last backup that has the order; until then settle it with the platform by its id"
	indexAdvice   = "the order itself is whole: keep a copy of the file and report this; restore the last good backup if orders stand still"
	expiryAdvice  = "the record would stay for ever: keep a copy of the file and report this"
	tallyAdvice   = "figures alone are wrong, no order is: report this with the output of `tongcha db stats`"
	bucketAdvice  = "use the program that made the file"
)

// listed is how many problems of one bucket a report has.
const listed = 20

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Found) == 0 }

// Damaged reports whether pages are damaged, so that the file can't be used.
func (r *Report) Damaged() bool { return r.Pages.Problem() }

// Records counts the records of all buckets.
func (r *Report) Records() (n int64) {
	for _, b := range r.Pages.Buckets {
		n += b.Records
	}
	return n
}

func (r *Report) add(p Problem) {
	if r.Found == nil {
		r.Found = make(map[string]int)
	}
	r.Found[p.Bucket]++
	if r.Found[p.Bucket] <= listed {
		r.Problems = append(r.Problems, p)
	}
}

// Check reads all of a file that no hub has open, and changes nothing: its pages,
// its records, their secrets where there are keys, and whether the indexes and the
// tallies agree with the orders in both directions.
//
// Errors: ErrInUse; the file is no database or newer than this program. What is
// wrong in the file is no error but in the report.
func Check(ctx context.Context, path string, o CheckOptions) (*Report, error) {
	f, err := group.OpenFile(path)
	if err != nil {
		return nil, err
	}
	r, err := checkFile(ctx, f, o)
	return r, errors.Join(err, f.Close())
}

func checkFile(ctx context.Context, f *group.File, o CheckOptions) (*Report, error) {
	r := new(Report)
	var err error
	r.Pages, err = f.Survey(ctx, func(done, total int64) { o.tell("pages", done, total) })
	if err != nil {
		return nil, err
	}
	r.addPages()
	if r.Damaged() {
		return r, nil // what such pages lead to can't be read
	}
	for _, text := range f.CheckPages() {
		r.add(Problem{Text: text, Action: restoreAdvice})
	}
	return r, f.View(func(tx *group.Tx) error {
		c := &checker{ctx: ctx, o: o, s: &Store{keys: o.Keys}, tx: tx, r: r, total: r.Records()}
		return c.run()
	})
}

func (o CheckOptions) tell(step string, done, total int64) {
	if o.Progress != nil {
		o.Progress(step, done, total)
	}
}

func (r *Report) addPages() {
	for _, text := range r.Pages.Problems {
		r.add(Problem{Text: text, Action: restoreAdvice})
	}
	for _, b := range r.Pages.Buckets {
		for _, text := range b.Problems {
			r.add(Problem{Bucket: b.Name, Text: text, Action: restoreAdvice})
		}
	}
}

// checker is one walk over the records of a file whose pages are whole.
type checker struct {
	ctx   context.Context
	o     CheckOptions
	s     *Store
	tx    *group.Tx
	r     *Report
	total int64
	done  int64

	bucket  []byte // that is being walked
	place   int64  // of the record in it
	tallies map[string]*recordv1.OrderTally
}

func (c *checker) run() error {
	known, err := c.layout()
	if err != nil || !known {
		return err
	}
	c.buckets()
	c.tallies = make(map[string]*recordv1.OrderTally)
	for _, b := range recordChecks() {
		if err := c.walk(b.bucket, b.check); err != nil {
			return err
		}
	}
	c.checkTallies()
	return nil
}

// layout reads what the file says of itself; false where no more can be said.
func (c *checker) layout() (bool, error) {
	m := new(recordv1.Meta)
	if !c.tx.Has(bucketMeta) {
		c.r.add(Problem{Bucket: string(bucketMeta), Text: "the bucket is missing, so nobody knows what the file is", Action: restoreAdvice})
		return false, nil
	}
	switch found, err := load(c.tx, bucketMeta, metaKey, m); {
	case err != nil || !found:
		c.r.add(Problem{Bucket: string(bucketMeta), Text: "the record about the file itself is missing or broken", Action: restoreAdvice})
		return false, nil
	case m.GetSchemaVersion() > schemaVersion:
		return false, tooNew(m.GetSchemaVersion())
	}
	c.r.Layout, c.r.Current = m.GetSchemaVersion(), m.GetSchemaVersion() == schemaVersion
	if c.o.Keys == nil {
		return true, nil
	}
	if err := c.s.checkKeys(c.tx, true); err != nil {
		return false, err
	}
	c.r.Opened = true
	return true, nil
}

// buckets compares the buckets that there are with those that there should be.
func (c *checker) buckets() {
	if !c.r.Current {
		return
	}
	want := make(map[string]bool)
	for _, b := range allBuckets() {
		want[string(b)] = true
		if !c.tx.Has(b) {
			c.r.add(Problem{Bucket: string(b), Text: "the bucket is missing", Action: "start the hub once, which makes it, and check again"})
		}
	}
	for _, b := range c.r.Pages.Buckets {
		if !want[b.Name] {
			c.r.add(Problem{Bucket: b.Name, Text: "this program knows no such bucket", Action: bucketAdvice})
		}
	}
}

// walk checks every record of a bucket.
func (c *checker) walk(bucket []byte, check func(c *checker, k, v []byte)) error {
	if !c.tx.Has(bucket) {
		return nil
	}
	c.bucket, c.place = bucket, 0
	return c.tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		c.place++
		c.done++
		if c.done%1024 == 0 {
			if c.ctx.Err() != nil {
				return context.Cause(c.ctx)
			}
			c.o.tell("records", c.done, c.total)
		}
		check(c, k, v)
		return nil
	})
}

// bad notes a problem of the record that is being checked. Keys that are digests
// are not shown: they belong to people.
func (c *checker) bad(id, action, format string, args ...any) {
	if id == "" {
		id = fmt.Sprintf("record %d", c.place)
	}
	c.r.add(Problem{Bucket: string(c.bucket), Record: id, Text: fmt.Sprintf(format, args...), Action: action})
}

// get reads a record that another one leads to; nil where there is none.
func (c *checker) get(bucket, k []byte) []byte {
	if !c.tx.Has(bucket) {
		return nil
	}
	return c.tx.Bucket(bucket).Get(k)
}
