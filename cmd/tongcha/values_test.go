package main

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{"7d": 7 * day, "36h": 36 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute, "0s": 0, "90m": 90 * time.Minute, "36500d": oldest} {
		var a age
		if err := a.Set(s); err != nil || a.d != want || !a.given {
			t.Errorf("%s: %v %v", s, a, err)
		}
	}
	for _, s := range []string{"", "d", "7", "-1d", "-5m", "7D", "1h2d", "36501d", "999999999h999999999h", "1.5d", "１d"} {
		var a age
		if err := a.Set(s); err == nil || a.given {
			t.Errorf("%s: %v", s, a)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"10": "10/s", "10/s": "10/s", "0.5": "30/m", "30/m": "30/m", "5/h": "5/h", "1000/s": "1000/s", "1/h": "1/h"} {
		var r rate
		if err := r.Set(s); err != nil || r.String() != want {
			t.Errorf("%s: %v %v", s, r.String(), err)
		}
	}
	for _, s := range []string{"", "0", "-1", "-1/s", "1001", "10/d", "1e3", "NaN", "Inf", "0.001/h", "10 /s"} {
		r := rate(7)
		if err := r.Set(s); err == nil || r != 7 {
			t.Errorf("%s: %v", s, r)
		}
	}
}

func TestRelative(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for d, want := range map[time.Duration]string{
		0: "now", 999 * time.Millisecond: "now", time.Second: "in 1s", -90 * time.Second: "1m30s ago", 3*24*time.Hour + 59*time.Minute: "in 3d",
		-(26*time.Hour + 59*time.Minute): "1d2h ago",
	} {
		if got := relative(now.Add(d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := relative(time.Time{}, now); got != "-" {
		t.Errorf("never: %q", got)
	}
}
