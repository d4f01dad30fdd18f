package clock_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/clock"
)

// wall is a machine's clock that can be set.
type wall struct{ set time.Duration }

func (w *wall) now() time.Time { return time.Now().Add(w.set) }

const year = 365 * 24 * time.Hour

// TestSteps: whatever the machine's clock is set to, the hub's goes on evenly.
func TestSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, year, -year} {
		synctest.Test(t, func(t *testing.T) {
			w := new(wall)
			c := clock.New(clock.Options{Wall: w.now})
			start := c.Now()
			time.Sleep(time.Minute)
			w.set = step
			time.Sleep(time.Minute)
			if went := c.Now().Sub(start); went != 2*time.Minute {
				t.Errorf("set by %v: %v went by, want 2 minutes", step, went)
			}
			if c.Jump() != step || c.Off() != step {
				t.Errorf("set by %v: jump %v, off %v", step, c.Jump(), c.Off())
			}
		})
	}
}

// TestResume: a start never begins before what was seen, nor far after it.
func TestResume(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		what   string
		ahead  time.Duration // of the machine's clock
		accept bool
		off    time.Duration
		fails  bool
	}{
		{"in step", 0, false, 0, false},
		{"behind", -time.Hour, false, -time.Hour, false},
		{"far behind", -year, false, -year, false},
		{"far behind, accepted", -year, true, -year, false},
		{"off for a while", 30 * day, false, 0, false},
		{"too far ahead", 30*day + 1, false, 0, true},
		{"off for long", year, true, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			seen := time.Now().Add(-row.ahead)
			c := clock.New(clock.Options{Accept: row.accept})
			err := c.Resume(seen)
			var ahead *clock.AheadError
			if errors.As(err, &ahead) != row.fails || row.fails && !strings.Contains(err.Error(), "--accept-clock") {
				t.Fatalf("%s: %v", row.what, err)
			}
			time.Sleep(time.Minute)
			if !row.fails && (c.Off() != row.off || c.Jump() != 0 || c.Now().Before(seen.Add(time.Minute))) {
				t.Errorf("%s: off %v, jump %v", row.what, c.Off(), c.Jump())
			}
		})
	}
}

// TestFirstStart: a hub that has seen nothing takes what the machine says.
func TestFirstStart(t *testing.T) {
	c := clock.New(clock.Options{Wall: func() time.Time { return time.Unix(0, 0) }})
	if err := c.Resume(time.Time{}); err != nil || c.Off() > time.Second {
		t.Errorf("%v, off %v", err, c.Off())
	}
}

// TestSleep: time that the machine slept counts, where the reading counts it.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept time.Duration
		begin := time.Now()
		c := clock.New(clock.Options{
			Wall:    func() time.Time { return time.Now().Add(slept) },
			Elapsed: func() time.Duration { return time.Since(begin) + slept },
		})
		start := c.Now()
		time.Sleep(time.Second)
		slept = time.Hour
		if went := c.Now().Sub(start); went != time.Hour+time.Second || c.Jump() != 0 {
			t.Errorf("%v went by, jump %v", went, c.Jump())
		}
	})
}

// TestSinceBoot: it goes on, and never back.
func TestSinceBoot(t *testing.T) {
	read := clock.SinceBoot()
	if read == nil {
		t.Skip("this system has none")
	}
	for last, i := read(), 0; i < 1000; i++ {
		now := read()
		if now < last || now <= 0 {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
}

// TestNil: no clock is the machine's.
func TestNil(t *testing.T) {
	var c *clock.Clock
	if err := c.Resume(time.Now().Add(-2 * year)); err != nil || time.Since(c.Now()) > time.Minute || c.Off() != 0 || c.Jump() != 0 {
		t.Errorf("%v %v", err, c.Now())
	}
}

func BenchmarkNow(b *testing.B) {
	c := clock.New(clock.Options{Elapsed: clock.SinceBoot()})
	for b.Loop() {
		_ = c.Now()
	}
}
