package lookup

import (
	"testing"
	"time"
)

// TestPassedOver: what was due of a lookup while it was looked at is due when that
// ends; a round that nothing passed over wakes nobody.
func TestPassedOver(t *testing.T) {
	w := newLate(time.Now)
	d := Due{Lookup: Lookup{ID: "one"}}
	woken := func() bool {
		select {
		case <-w.wake:
			return true
		default:
			return false
		}
	}
	for _, meanwhile := range []bool{true, false} {
		w.plan(time.Now().Add(idlePass))
		w.begin(d)
		if meanwhile && (!w.passOver("one") || w.passOver("other")) {
			t.Error("who is busy?")
		}
		if woken() {
			t.Error("woken in the middle")
		}
		w.end(d)
		if woken() != meanwhile || w.passOver("one") {
			t.Errorf("passed over %t: woken %t", meanwhile, !meanwhile)
		}
	}
}
