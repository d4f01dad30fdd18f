package calendar

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func builtin(t testing.TB) *Calendar {
	t.Helper()
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// at reads "2026-10-01 15:04" or a bare date as Shanghai time.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	layout := "2006-01-02 15:04"
	got, err := time.ParseInLocation(layout[:len(s)], s, shanghai)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWorkingDay(t *testing.T) {
	c := builtin(t)
	for _, tt := range []struct {
		day  string
		want bool
		why  string
	}{
		{"2024-02-09", true, "the eve of the 2024 Spring Festival was only recommended as a day off"},
		{"2024-02-10", false, "Spring Festival"},
		{"2024-05-11", true, "Saturday worked for Labour Day"},
		{"2024-09-14", true, "Saturday worked for Mid-Autumn"},
		{"2025-01-28", false, "eve of the Spring Festival, a holiday since 2025"},
		{"2025-01-26", true, "Sunday worked for the Spring Festival"},
		{"2025-02-05", true, "first day after the Spring Festival"},
		{"2025-10-08", false, "National Day together with Mid-Autumn lasts 8 days"},
		{"2025-10-09", true, "first day after it"},
		{"2025-10-11", true, "Saturday worked for it"},
		{"2025-10-12", false, "plain Sunday"},
		{"2026-01-02", false, "Friday off for New Year"},
		{"2026-01-04", true, "Sunday worked for New Year"},
		{"2026-02-23", false, "last day of the Spring Festival, a Monday"},
		{"2026-02-28", true, "Saturday worked for the Spring Festival"},
		{"2026-09-20", true, "Sunday worked for National Day"},
		{"2026-10-08", true, "first day after National Day"},
		{"2026-10-10", true, "Saturday worked for National Day"},
		{"2026-11-21", false, "plain Saturday"},
		{"2026-11-23", true, "plain Monday"},
	} {
		if got := c.WorkingDay(at(t, tt.day)); got != tt.want {
			t.Errorf("WorkingDay(%s) = %v, want %v: %s", tt.day, got, tt.want, tt.why)
		}
	}
}

func TestWorkingDayGoesByShanghai(t *testing.T) {
	c := builtin(t)
	friday := time.Date(2026, 11, 20, 15, 59, 59, 0, time.UTC) // 23:59:59 in Shanghai
	if !c.WorkingDay(friday) {
		t.Error("the last second of Friday is not worked")
	}
	if c.WorkingDay(friday.Add(time.Second)) {
		t.Error("the first second of Saturday is worked")
	}
}

func TestAddWorkingDays(t *testing.T) {
	c := builtin(t)
	for _, tt := range []struct {
		from string
		n    int
		last string // the day whose end is expected
		why  string
	}{
		{"2026-11-16 09:00", 5, "2026-11-23", "a plain week: Tuesday to Friday and Monday"},
		{"2026-11-21 09:00", 5, "2026-11-27", "asked on a Saturday"},
		{"2026-09-30 23:59", 5, "2026-10-13", "National Day 2026: 8, 9, 10 (Saturday), 12, 13"},
		{"2025-09-30 00:00", 5, "2025-10-14", "National Day 2025: 9, 10, 11 (Saturday), 13, 14"},
		{"2025-09-26 18:00", 5, "2025-10-10", "28 (Sunday), 29, 30 September, then 9 and 10"},
		{"2026-02-13 12:00", 5, "2026-02-27", "Spring Festival: 14 (Saturday), 24, 25, 26, 27"},
		{"2026-02-13 12:00", 6, "2026-02-28", "and the Saturday after it"},
		{"2024-02-09 12:00", 1, "2024-02-18", "Sunday worked after the Spring Festival"},
		{"2026-12-31 12:00", 1, "2027-01-01", "no notice for 2027 yet: a Friday counts"},
		{"2026-11-21 09:00", 0, "2026-11-21", "none: the end of the day itself"},
		{"2026-11-21 09:00", -3, "2026-11-21", "fewer than none is none"},
	} {
		want := at(t, tt.last).AddDate(0, 0, 1)
		if got := c.AddWorkingDays(at(t, tt.from), tt.n); !got.Equal(want) {
			t.Errorf("AddWorkingDays(%s, %d) = %v, want the end of %s: %s", tt.from, tt.n, got, tt.last, tt.why)
		}
	}
}

func TestAddWorkingDaysProperties(t *testing.T) {
	c := builtin(t)
	rnd := rand.New(rand.NewPCG(20261121, 1))
	from := at(t, "2023-12-01").Unix()
	span := at(t, "2027-12-31").Unix() - from
	for range 20_000 {
		a := time.Unix(from+rnd.Int64N(span), 0).UTC()
		b := a.Add(time.Duration(rnd.Int64N(int64(30 * 24 * time.Hour))))
		n := rnd.IntN(25)
		end := c.AddWorkingDays(a, n)
		if h, m, s := end.Clock(); h != 0 || m != 0 || s != 0 || end.Location() != shanghai {
			t.Fatalf("%v + %d ends at %v, not at midnight in Shanghai", a, n, end)
		}
		if !end.After(a) || c.AddWorkingDays(b, n).Before(end) || !c.AddWorkingDays(a, n+1).After(end) {
			t.Fatalf("not monotonic at %v, %v and %d", a, b, n)
		}
		if got := worked(c, a, end); got != n {
			t.Fatalf("%d working days between %v and %v, want %d", got, a, end, n)
		}
		if n > 0 && !c.WorkingDay(end.Add(-time.Second)) {
			t.Fatalf("%v + %d ends on a day off", a, n)
		}
	}
}

// worked counts the working days after the day of a whose end is at most end,
// day by day in plain 24-hour steps.
func worked(c *Calendar, a, end time.Time) int {
	n := 0
	for t := a.Add(24 * time.Hour); t.Before(end); t = t.Add(24 * time.Hour) {
		if c.WorkingDay(t) {
			n++
		}
	}
	return n
}

// 调休 only moves days about, so each year has its Mondays to Fridays less the
// holidays of the law: 11 up to 2024 (262 - 11), 13 since 2025 (261 - 13).
func TestYearTotals(t *testing.T) {
	c := builtin(t)
	for year, want := range map[int]int{2024: 251, 2025: 248, 2026: 248} {
		got := 0
		for d := (date{year, time.January, 1}); d.year == year; d = d.next() {
			if c.workingDay(d) {
				got++
			}
		}
		if got != want {
			t.Errorf("%d has %d working days, want %d", year, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	c := builtin(t)
	for year := 2024; year <= 2026; year++ {
		if !c.Covers(year) {
			t.Errorf("%d is not covered", year)
		}
	}
	if c.Covers(2023) || c.Covers(2199) {
		t.Error("a year without data is covered")
	}
	next, err := Parse(strings.NewReader("2026-12-31 off 元旦\n2027-01-01 off 元旦\n"))
	if err != nil {
		t.Fatal(err)
	}
	if next.Covers(2026) || !next.Covers(2027) {
		t.Error("a day that a notice names in the year before must not cover that year")
	}
}

func TestZeroCalendarGoesByTheWeek(t *testing.T) {
	var c Calendar
	if !c.WorkingDay(at(t, "2026-10-01")) || c.WorkingDay(at(t, "2026-10-10")) || c.Covers(2026) {
		t.Error("the zero Calendar does not go by the week")
	}
}

func TestParseNamesTheLine(t *testing.T) {
	const good = "# head\n\n2026-10-01 off 国庆节\r\n"
	for _, tt := range []struct{ name, line, want string }{
		{"no name", "2026-10-02 off", "line 4: want a date, off or work, and a name"},
		{"no such day", "2026-02-30 off 春节", "line 4: want a date as YYYY-MM-DD"},
		{"short date", "2026-2-3 off 春节", "line 4: want a date as YYYY-MM-DD"},
		{"other word", "2026-10-02 rest 国庆节", "line 4: want off or work"},
		{"twice", "2026-10-01 off 国庆节", "line 4: the day is listed twice"},
		{"work on a Friday", "2026-10-09 work 国庆节调休", "line 4: work is for a Saturday or Sunday"},
		{"endless line", "#" + strings.Repeat("长", 1<<16), "line 4: bufio.Scanner: token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(good + tt.line + "\n"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(holidays)
	f.Add("2026-10-01 off 国庆节\n2026-10-10 work 国庆节调休")
	f.Add("0000-01-01 off x\n9999-12-31 off x")
	f.Add("2026-10-01\x00off x")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "calendar: line ") {
				t.Fatalf("error without a line: %v", err)
			}
			return
		}
		from := at(t, "2026-09-30 12:00")
		end := c.AddWorkingDays(from, 5)
		if got := worked(c, from, end); got != 5 {
			t.Fatalf("%d working days up to %v, want 5", got, end)
		}
	})
}
