package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// CompactPlan is what a compaction will take.
type CompactPlan struct {
	Size    int64 // up to the last page that was ever used, bytes
	After   int64 // the same expected of the new file; once it is made, what came of it
	Records int64
	Need    int64         // free bytes it needs beside the file
	Free    int64         // that there are
	Rate    int64         // bytes of records a second, measured on a part of them
	Pause   time.Duration // for which no hub can run
}

// Pays reports whether it gives back what is worth a pause.
func (p CompactPlan) Pays() bool { return CompactionPays(p.Size, p.Size-p.After) }

// CompactionPays reports whether to give free bytes of a file of size back is worth
// a pause: a quarter of a file that is not small.
func CompactionPays(size, free int64) bool { return free > max(size/4, growth) }

// CompactOptions says how a file is compacted.
type CompactOptions struct {
	// Planned is told the plan before anything is replaced; its error ends all.
	Planned  func(CompactPlan) error
	DryRun   bool // end there
	Progress Progress
}

// sampled is how many bytes of records are copied to measure how fast that goes.
const sampled = 32 << 20

// Compact writes the records of a file that no hub has open into a new one without
// holes, reads it again, and puts it in the old one's place in one step. A crash
// leaves the old file or the new one, and perhaps a .compact file beside it, which
// the next compaction replaces.
//
// Errors: ErrInUse; ErrNoRoom; pages are damaged.
func Compact(ctx context.Context, path string, o CompactOptions) (CompactPlan, error) {
	f, err := group.OpenFile(path) // until the end, so that no hub starts meanwhile
	if err != nil {
		return CompactPlan{}, err
	}
	c := &compaction{ctx: ctx, path: path, fresh: path + ".compact", file: f, o: o}
	plan, err := c.run()
	return plan, errors.Join(err, removed(c.fresh), f.Close())
}

type compaction struct {
	ctx         context.Context
	path, fresh string
	file        *group.File
	pages       Pages
	o           CompactOptions
}

func (c *compaction) tell(step string) func(done, total int64) {
	return func(done, total int64) { CheckOptions{Progress: c.o.Progress}.tell(step, done, total) }
}

func (c *compaction) run() (CompactPlan, error) {
	plan, err := c.plan()
	if err != nil {
		return plan, err
	}
	if err := c.o.Planned(plan); err != nil || c.o.DryRun {
		return plan, err
	}
	if err := roomFor(filepath.Dir(c.path), plan.Need); err != nil {
		return plan, err
	}
	want, err := c.file.CopyRecords(c.ctx, c.fresh, group.CopyOptions{
		Fill: fillOf, Progress: func(n int64) { c.tell("copied")(n, c.bytes()) },
	})
	if err != nil {
		return plan, err
	}
	if plan.After, err = c.verify(want); err != nil {
		return plan, err
	}
	if err := likeOwner(c.fresh, c.path); err != nil {
		return plan, err
	}
	return plan, moveInto(c.fresh, c.path)
}

// fillOf is how full the pages of a compacted bucket are made: there is room for
// some records that come between the others.
func fillOf([]byte) float64 { return 0.9 }

func (c *compaction) bytes() (n int64) {
	for _, b := range c.pages.Buckets {
		n += b.Bytes
	}
	return n
}

// plan measures: the pages are read once, and a part of the records is copied.
func (c *compaction) plan() (plan CompactPlan, err error) {
	began := time.Now()
	if c.pages, err = c.file.Survey(c.ctx, c.tell("pages")); err != nil {
		return plan, err
	}
	if c.pages.Problem() {
		return plan, fmt.Errorf("store: pages of %s are damaged; see `tongcha db check`, nothing was changed", c.path)
	}
	read := time.Since(began)
	began = time.Now()
	part, err := c.file.CopyRecords(c.ctx, c.fresh, group.CopyOptions{Most: sampled})
	if err != nil {
		return plan, err
	}
	if err := removed(c.fresh); err != nil {
		return plan, err
	}
	took := max(time.Since(began), time.Millisecond)
	plan = CompactPlan{Size: c.pages.Size, Rate: int64(float64(part.Bytes) / took.Seconds())}
	for _, b := range c.pages.Buckets {
		plan.Records += b.Records
		plan.After += int64(float64(b.Bytes+32*b.Records)/fillOf(nil)) + int64(c.pages.PageSize)
	}
	plan.After = min(plan.After, c.pages.Size)
	plan.Need = plan.After + plan.After/8 + growth
	plan.Free, _ = FreeBytes(filepath.Dir(c.path))
	plan.Pause = 3 * read // the new file is read twice, by page and by record
	if part.Bytes > 0 {
		plan.Pause += time.Duration(float64(took) * float64(c.bytes()) / float64(part.Bytes))
	}
	return plan, nil
}

// verify reads the new file as a hub would find it, and returns its size.
func (c *compaction) verify(want group.Content) (size int64, err error) {
	f, err := group.OpenFile(c.fresh)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pages, err := f.Survey(c.ctx, c.tell("checked"))
	if err != nil {
		return 0, err
	}
	if pages.Problem() || len(f.CheckPages()) > 0 {
		return 0, errors.New("store: pages of the new file are damaged; the old one stays. Try again, on another disk if that does not help")
	}
	got, err := f.Content(c.ctx, func(n int64) { c.tell("compared")(n, want.Bytes) })
	if err == nil && got != want {
		err = errors.New("store: the new file does not hold the same records; the old one stays. Try again, on another disk if that does not help")
	}
	return pages.Size, err
}
