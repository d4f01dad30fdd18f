package coverage

import (
	"context"
	"fmt"
	"slices"
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

func (o *Orders) merge(b Orders) {
	o.Queued += b.Queued
	o.InReview += b.InReview
	o.Completed += b.Completed
	o.Refused += b.Refused
	o.Abandoned += b.Abandoned
	o.Cancelled += b.Cancelled
	o.Overdue += b.Overdue
}

// Store keeps the counts. Every method is one transaction.
type Store interface {
	// FlushTallies adds to the lookup counts, of the days and since the first day.
	FlushTallies(context.Context, map[Cell]Tally) error
	// Tallies returns the lookup counts since the first day of every platform that
	// was ever asked.
	Tallies(context.Context) (map[platform.ID]Tally, error)
	// EachDay calls asked and ordered, in any order, with what is kept of the days
	// from…to, both included, and returns the first day that was counted by day.
	// They must not call the store. The last KeptDays days are kept.
	EachDay(ctx context.Context, from, to Day, asked func(Cell, Tally), ordered func(Cell, Unbinds)) (Day, error)
	// OrderCounts returns the order counts, as of now, of every platform that ever
	// had one.
	OrderCounts(ctx context.Context, now time.Time) (map[platform.ID]Orders, error)
	// FirstDay is when the store was made.
	FirstDay(context.Context) (time.Time, error)
}

// Query chooses what a report is about.
type Query struct {
	// From and To are the first and the last day.
	From, To Day
	// Ever takes the lookup counts since the hub's first day instead of those of
	// the days. Orders are those of the days all the same.
	Ever     bool
	Platform platform.ID // only this one; "" for all
	Category string      // only this one; "" for all
}

func (q Query) wants(e platform.Entry) bool {
	return (q.Platform == "" || q.Platform == e.ID) && (q.Category == "" || q.Category == e.Category)
}

// Row is the figures of one platform.
type Row struct {
	Entry   platform.Entry
	Lookup  Tally
	Unbinds Unbinds
	Orders  Orders // as of now
}

// Category is the figures of one category.
type Category struct {
	Name               string
	Catalogued, Joined int
	Shares             Shares
	Lookup             Tally
	Unbinds            Unbinds
}

// OneDay is the figures of one day.
type OneDay struct {
	Day     Day
	Lookup  Tally
	Unbinds Unbinds
}

// Report is the figures of the platforms a query is about. What is due is
// counted for days that are over.
type Report struct {
	Since      time.Time // the hub's first day
	AsOf       time.Time
	From, To   Day // the days that are counted
	Joined     int
	Shares     Shares
	Rows       []Row      // one for every catalogued platform, ordered by id
	Categories []Category // one for every category among them, in the order of the rule
	Days       []OneDay   // one for every day, oldest first
	Total      Row        // Entry is empty
}

// Read makes a report of the catalogued platforms. What the counter has not
// flushed yet is included.
func Read(ctx context.Context, s Store, c *Counter, catalogue []platform.Entry, q Query) (Report, error) {
	now := c.now()
	b := newBuilder(catalogue, q, DayOf(now))
	if err := b.count(ctx, s, c); err != nil {
		return Report{}, err
	}
	since, err := s.FirstDay(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("first day: %w", err)
	}
	orders, err := s.OrderCounts(ctx, now)
	if err != nil {
		return Report{}, fmt.Errorf("order counts: %w", err)
	}
	r := Report{Since: since, AsOf: now, From: b.q.From, To: b.q.To, Days: b.days}
	for _, row := range b.rows {
		row.Orders = orders[row.Entry.ID]
		r.add(*row)
	}
	r.Categories = slices.DeleteFunc(r.Categories, func(c Category) bool { return c.Catalogued == 0 })
	return r, nil
}

func (r *Report) add(row Row) {
	r.Rows = append(r.Rows, row)
	r.Shares.Add(row, r.AsOf)
	r.Total.Lookup.Merge(row.Lookup)
	r.Total.Unbinds.Merge(row.Unbinds)
	r.Total.Orders.merge(row.Orders)
	c := r.category(row.Entry.Category)
	c.Catalogued++
	if row.Entry.Joined() {
		r.Joined++
		c.Joined++
	}
	c.Shares.Add(row, r.AsOf)
	c.Lookup.Merge(row.Lookup)
	c.Unbinds.Merge(row.Unbinds)
}

// category finds the figures of a category; one that the rule does not list comes
// after those it does.
func (r *Report) category(name string) *Category {
	if r.Categories == nil {
		for _, n := range platform.Categories() {
			r.Categories = append(r.Categories, Category{Name: n})
		}
	}
	i := slices.IndexFunc(r.Categories, func(c Category) bool { return c.Name == name })
	if i < 0 {
		i = len(r.Categories)
		r.Categories = append(r.Categories, Category{Name: name})
	}
	return &r.Categories[i]
}

// builder adds up what a store and a counter hold, by platform and by day.
type builder struct {
	q     Query
	today Day
	rows  []*Row
	byID  map[platform.ID]*Row
	days  []OneDay
}

func newBuilder(catalogue []platform.Entry, q Query, today Day) *builder {
	b := &builder{q: q, today: today, byID: make(map[platform.ID]*Row)}
	for _, e := range catalogue {
		if q.wants(e) {
			row := &Row{Entry: e}
			b.rows = append(b.rows, row)
			b.byID[e.ID] = row
		}
	}
	for d := q.From; d <= q.To; d++ {
		b.days = append(b.days, OneDay{Day: d})
	}
	return b
}

// count reads store and counter while no flush is under way.
func (b *builder) count(ctx context.Context, s Store, c *Counter) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	first, err := s.EachDay(ctx, b.q.From, b.q.To, b.asked, b.ordered)
	if err != nil {
		return fmt.Errorf("days: %w", err)
	}
	b.startAt(first)
	for k, t := range c.peek() {
		if k.Day >= b.q.From && k.Day <= b.q.To {
			b.asked(k, t)
		}
		if row := b.byID[k.Platform]; row != nil && b.q.Ever {
			row.Lookup.Merge(t)
		}
	}
	if !b.q.Ever {
		return nil
	}
	all, err := s.Tallies(ctx)
	if err != nil {
		return fmt.Errorf("tallies: %w", err)
	}
	for _, row := range b.rows {
		row.Lookup.Merge(all[row.Entry.ID])
	}
	return nil
}

// startAt leaves out the days before counting by day began: of them nothing is
// known, which is not the same as nothing asked.
func (b *builder) startAt(first Day) {
	if b.q.From < first {
		b.days = b.days[min(int(first-b.q.From), len(b.days)):]
		b.q.From = min(first, b.q.To)
	}
}

func (b *builder) asked(k Cell, t Tally) {
	row := b.byID[k.Platform]
	if row == nil {
		return
	}
	if !b.q.Ever {
		row.Lookup.Merge(t)
	}
	b.days[k.Day-b.q.From].Lookup.Merge(t)
}

func (b *builder) ordered(k Cell, u Unbinds) {
	row := b.byID[k.Platform]
	if row == nil {
		return
	}
	if k.Day >= b.today { // what is due on a day that is not over is neither in time nor missed
		u.Due, u.OnTime = 0, 0
	}
	row.Unbinds.Merge(u)
	b.days[k.Day-b.q.From].Unbinds.Merge(u)
}
