package coverage

import (
	"errors"
	"time"
)

// china is fixed: it has kept +08:00 all year since 1992, and a container
// without zone files must not shift a day.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

// Day is a day in China, counted from 1970-01-01.
type Day int32

const secondsPerDay = 24 * 60 * 60

// DayOf is the day that holds t.
func DayOf(t time.Time) Day {
	s := t.Unix() + 8*60*60
	d := s / secondsPerDay
	if s%secondsPerDay < 0 {
		d--
	}
	return Day(d)
}

// DueDay is the day whose end is the last moment for what is due at t: 00:00
// belongs to the day before.
func DueDay(t time.Time) Day { return DayOf(t.Add(-1)) }

// Start is 00:00 of the day.
func (d Day) Start() time.Time {
	return time.Date(1970, 1, 1+int(d), 0, 0, 0, 0, china)
}

// String is the day as "2026-10-01".
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// ParseDay reads a day of the years 1970 to 2199, as "2026-10-01".
func ParseDay(s string) (Day, error) {
	t, err := time.ParseInLocation(time.DateOnly, s, china)
	if err != nil || t.Year() < 1970 || t.Year() > 2199 {
		return 0, errors.New("not a day as 2026-10-01")
	}
	return DayOf(t), nil
}

// KeptDays is how many days are kept day by day, the present one included.
// Older ones stay in the counts since the first day alone.
const KeptDays = 400
