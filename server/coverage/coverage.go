package coverage

import (
	"context"
	"fmt"
	"time"

	"github.com/tongcha/tongcha/server/platform"
)

// Orders counts the orders of one platform by state.
type Orders struct {
	Queued, InReview, Completed, Refused, Abandoned, Cancelled int64
	Overdue                                                    int64 // open and past due
}

// Open is how many have not ended.
func (o Orders) Open() int64 { return o.Queued + o.InReview }

// Store keeps the counts since the hub's first day. Every method is one
// transaction.
type Store interface {
	// FlushTallies adds to the lookup counts.
	FlushTallies(context.Context, map[platform.ID]Tally) error
	// Tallies returns the lookup counts of every platform that was ever asked.
	Tallies(context.Context) (map[platform.ID]Tally, error)
	// OrderCounts returns the order counts of every platform that ever had one.
	OrderCounts(ctx context.Context, now time.Time) (map[platform.ID]Orders, error)
	// FirstDay is when the store was made.
	FirstDay(context.Context) (time.Time, error)
}

// Row is the figures of one platform.
type Row struct {
	Entry  platform.Entry
	Lookup Tally
	Orders Orders
}

// Report is the figures of the whole federation.
type Report struct {
	Since  time.Time
	AsOf   time.Time
	Joined int
	Rows   []Row // one for every catalogued platform, ordered by id
	Total  Row   // Entry is empty
}

// Read makes the report of the catalogued platforms. What the counter has not
// flushed yet is included.
func Read(ctx context.Context, s Store, c *Counter, catalogue []platform.Entry) (Report, error) {
	now := time.Now()
	since, err := s.FirstDay(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("first day: %w", err)
	}
	tallies, err := s.Tallies(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("tallies: %w", err)
	}
	orders, err := s.OrderCounts(ctx, now)
	if err != nil {
		return Report{}, fmt.Errorf("order counts: %w", err)
	}
	for id, t := range c.Peek() {
		sum := tallies[id]
		sum.Merge(t)
		tallies[id] = sum
	}
	r := Report{Since: since, AsOf: now}
	for _, e := range catalogue {
		row := Row{Entry: e, Lookup: tallies[e.ID], Orders: orders[e.ID]}
		r.Rows = append(r.Rows, row)
		r.add(row)
	}
	return r, nil
}

func (r *Report) add(row Row) {
	if row.Entry.Joined() {
		r.Joined++
	}
	r.Total.Lookup.Merge(row.Lookup)
	o := &r.Total.Orders
	o.Queued += row.Orders.Queued
	o.InReview += row.Orders.InReview
	o.Completed += row.Orders.Completed
	o.Refused += row.Orders.Refused
	o.Abandoned += row.Orders.Abandoned
	o.Cancelled += row.Orders.Cancelled
	o.Overdue += row.Orders.Overdue
}
