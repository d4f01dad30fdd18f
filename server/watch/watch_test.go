package watch_test

import (
	"testing"

	"github.com/tongcha/tongcha/server/watch"
)

// TestWatch: everybody who waits for an id is told, once for changes that come
// together, and nobody else is.
func TestWatch(t *testing.T) {
	s := watch.NewSet()
	one, stopOne := s.Watch("a")
	two, stopTwo := s.Watch("a")
	other, stopOther := s.Watch("b")
	defer stopOther()
	told := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	s.Changed("a")
	s.Changed("a")
	s.Changed("nobody's")
	if !told(one) || told(one) || !told(two) || told(other) {
		t.Error("the first changes")
	}
	stopOne()
	s.Changed("a")
	if told(one) || !told(two) {
		t.Error("after one left")
	}
	stopTwo()
	stopTwo() // again: nothing
	s.Changed("a")
	if told(two) {
		t.Error("after both left")
	}
}
