package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// age is a flag for how long ago something was: a duration that also knows days.
// It implements pflag.Value.
type age struct {
	d     time.Duration
	given bool
}

// oldest is further back than anything the hub keeps.
const oldest = 100 * 365 * 24 * time.Hour

var ageForm = regexp.MustCompile(`^(?:(\d{1,5})d)?((?:\d{1,9}[hms])*)$`)

// Set reads "7d", "36h" or "1d12h".
func (a *age) Set(s string) error {
	f := ageForm.FindStringSubmatch(s)
	if f == nil || s == "" {
		return errors.New("want a time such as 7d, 36h or 90m")
	}
	var d time.Duration
	if f[1] != "" {
		days, _ := strconv.Atoi(f[1]) // five digits
		d = time.Duration(days) * 24 * time.Hour
	}
	if f[2] != "" {
		rest, err := time.ParseDuration(f[2])
		if err != nil {
			return errors.New("want a time such as 7d, 36h or 90m")
		}
		d += rest
	}
	if d < 0 || d > oldest {
		return errors.New("want a time of at most 36500d")
	}
	a.d, a.given = d, true
	return nil
}

// String is the time as a flag takes it.
func (a *age) String() string {
	if !a.given {
		return ""
	}
	return a.d.String()
}

// Type names what the flag takes.
func (a *age) Type() string { return "age" }

// rate is a flag for how many in a second, such as 10/s. It implements pflag.Value.
type rate float64

// The rates that a hub takes, in a second.
const (
	slowest = 1.0 / 3600
	fastest = 1000
)

var rateForm = regexp.MustCompile(`^(\d{1,6}(?:\.\d{1,3})?)(?:/([smh]))?$`)

// Set reads "10/s", "30/m", "5/h" or "10", which is by the second.
func (r *rate) Set(s string) error {
	f := rateForm.FindStringSubmatch(s)
	if f == nil {
		return errors.New("want a rate such as 10/s, 30/m or 5/h")
	}
	n, _ := strconv.ParseFloat(f[1], 64)
	n /= map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[f[2]]
	if n < slowest || n > fastest {
		return fmt.Errorf("want a rate from 1/h to %d/s", fastest)
	}
	*r = rate(n)
	return nil
}

// String is the rate as a flag takes it.
func (r *rate) String() string {
	n, unit := float64(*r), "s"
	for _, longer := range []string{"m", "h"} {
		if n > 0 && n < 1 && n != math.Trunc(n) {
			n, unit = n*60, longer
		}
	}
	return strconv.FormatFloat(math.Round(n*1e6)/1e6, 'f', -1, 64) + "/" + unit
}

// Type names what the flag takes.
func (r *rate) Type() string { return "rate" }

// relative is how far a time is from now, in its two largest units.
func relative(t, now time.Time) string {
	d := t.Sub(now)
	text := span(d.Abs())
	switch {
	case t.IsZero():
		return "-"
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return text + " ago"
	}
	return "in " + text
}

// span is a duration in its two largest units, such as 3d4h; less is cut off.
func span(d time.Duration) string {
	var out strings.Builder
	parts := 0
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / u.of; n > 0 && parts < 2 {
			fmt.Fprintf(&out, "%d%s", n, u.name)
			d -= n * u.of
			parts++
		} else if parts > 0 {
			break
		}
	}
	return out.String()
}
