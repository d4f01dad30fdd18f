package rpc

import "time"

// The rule by which places follow the delay: at the end of each window in which
// even the quickest step took longer than the target, they shrink by a quarter;
// each other window gives a few back. The quickest counts, not the mean: a burst
// makes some steps slow, a standing queue makes all of them slow.
const (
	window = time.Second
	target = 250 * time.Millisecond
	regain = mostPlaces / 32 // so all of them are back after half a minute
)

// delay turns the delays of the hub's own steps into how many calls may be under
// way. It needs no timer: windows are counted when somebody asks.
type delay struct {
	places   int
	ends     time.Time     // of the window; zero before the first
	quickest time.Duration // of its steps
	busiest  int           // the most calls of one kind that its steps saw under way
	steps    int
}

// now is how many calls of one kind may be under way.
func (d *delay) now(t time.Time) int {
	if d.ends.IsZero() {
		d.ends = t.Add(window)
	}
	if late := t.Sub(d.ends); late >= 0 {
		idle := int(min(late/window, mostPlaces)) // whole windows since, without a step
		d.judge()
		d.places = min(d.places+idle*regain, mostPlaces)
		d.ends, d.quickest, d.busiest, d.steps = t.Add(window), 0, 0, 0
	}
	return d.places
}

// judge ends a window. Places that nobody took are no sign of what the hub can
// bear, so shrinking begins at those that were taken.
func (d *delay) judge() {
	if d.steps > 0 && d.quickest > target {
		d.places = max(min(d.places, d.busiest)*3/4, leastPlaces)
		return
	}
	d.places = min(d.places+regain, mostPlaces)
}

// note takes in one step that ended at t.
func (d *delay) note(t time.Time, took time.Duration, calls int) {
	d.now(t)
	if d.steps == 0 || took < d.quickest {
		d.quickest = took
	}
	d.busiest = max(d.busiest, calls)
	d.steps++
}
