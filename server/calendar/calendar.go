// Package calendar counts working days in mainland China, public holidays and
// the shifted working weekends (调休) included.
package calendar

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// holidays is the calendar that is built in; its comments name the notices.
//
//go:embed holidays.txt
var holidays string

// shanghai is fixed: China has kept +08:00 all year since 1992, and a container
// without zone files must not shift a due date.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// Calendar knows which days are worked. It is safe for concurrent use; the zero
// Calendar knows no holidays.
type Calendar struct {
	worked map[date]bool // the special days only
}

// date is a day in Shanghai.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.In(shanghai).Date()
	return date{y, m, d}
}

// start is 00:00 of the day.
func (d date) start() time.Time {
	return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, shanghai)
}

func (d date) next() date { return dateOf(d.start().AddDate(0, 0, 1)) }

func (d date) weekend() bool {
	w := d.start().Weekday()
	return w == time.Saturday || w == time.Sunday
}

// Default returns the built-in calendar. The error is always nil in a binary
// whose tests passed.
func Default() (*Calendar, error) { return builtIn() }

var builtIn = sync.OnceValues(func() (*Calendar, error) {
	return Parse(strings.NewReader(holidays))
})

// Parse reads a calendar in the form that the head of holidays.txt describes. An
// error names the line, counted from 1.
func Parse(r io.Reader) (*Calendar, error) {
	c := &Calendar{worked: make(map[date]bool)}
	lines := bufio.NewScanner(r)
	n := 1
	for ; lines.Scan(); n++ {
		if err := c.add(strings.TrimSpace(lines.Text())); err != nil {
			return nil, fmt.Errorf("calendar: line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("calendar: line %d: %w", n, err)
	}
	return c, nil
}

func (c *Calendar) add(line string) error {
	if line == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	f := strings.Fields(line)
	if len(f) < 3 {
		return errors.New("want a date, off or work, and a name")
	}
	t, err := time.ParseInLocation(time.DateOnly, f[0], shanghai)
	if err != nil {
		return errors.New("want a date as YYYY-MM-DD")
	}
	d := dateOf(t)
	if _, ok := c.worked[d]; ok {
		return errors.New("the day is listed twice")
	}
	switch {
	case f[1] == "off":
		c.worked[d] = false
	case f[1] == "work" && d.weekend():
		c.worked[d] = true
	case f[1] == "work":
		return errors.New("work is for a Saturday or Sunday; this is neither")
	default:
		return errors.New("want off or work after the date")
	}
	return nil
}

// Covers reports whether the holidays of the year are known, that is, whether
// its 1 January is listed. In other years Monday to Friday count as working
// days, so that due dates may come too early.
func (c *Calendar) Covers(year int) bool {
	_, ok := c.worked[date{year, time.January, 1}]
	return ok
}

// WorkingDay reports whether the day in Shanghai that holds t is worked.
func (c *Calendar) WorkingDay(t time.Time) bool { return c.workingDay(dateOf(t)) }

func (c *Calendar) workingDay(d date) bool {
	if worked, ok := c.worked[d]; ok {
		return worked
	}
	return !d.weekend()
}

// AddWorkingDays returns the end of the n-th working day after the day of t:
// 24:00 in Shanghai. The day of t isn't counted, and the last day runs to its
// end, as articles 201 and 203 of the Civil Code count a period. An n of 0 or
// less gives the end of the day of t.
func (c *Calendar) AddWorkingDays(t time.Time, n int) time.Time {
	d := dateOf(t)
	for n > 0 {
		d = d.next()
		if c.workingDay(d) {
			n--
		}
	}
	return d.next().start()
}
