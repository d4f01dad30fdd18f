package link

import "testing"

// One failure among a few outcomes is no overload, whatever its share.
func TestLimitFewOutcomes(t *testing.T) {
	l := newLimiter(mostOpen)
	l.limit, l.settle = leastLimit, true
	for i := range 4000 {
		l.room(int(l.limit))
		l.note(i%50 != 0)
	}
	if l.limit < 64 {
		t.Errorf("a platform that fails on one in 50 is held at %v", l.limit)
	}
}

// From the least limit it comes back, and half of all failing brings it down.
func TestLimitComesBack(t *testing.T) {
	l := newLimiter(mostOpen)
	for i := range 1000 {
		l.room(int(l.limit))
		l.note(i%2 == 0)
	}
	if l.limit != leastLimit {
		t.Errorf("it fell to %v", l.limit)
	}
	for range 700 {
		l.room(int(l.limit))
		l.note(true)
	}
	if l.limit < 64 {
		t.Errorf("it is back at %v", l.limit)
	}
}
