package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// afterRestart is the product's promise: so long after a restart an order that
// was acknowledged before the hub was killed is completed.
const afterRestart = 8 * time.Second

// TestKillDuringUnbind kills the hub the moment it has acknowledged orders.
func TestKillDuringUnbind(t *testing.T) {
	t.Parallel()
	for round, kills := range []int{1, 1, 1, 2, 3} {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			killAndGoOn(t, kills)
		})
	}
}

func killAndGoOn(t *testing.T, kills int) {
	t.Helper()
	platforms := []string{"sim-sync", "sim-slow", "sim-async", "sim-flapping", "sim-redirecting"}
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	p := h.verified(demoNumber, demoSuffix)
	l := p.lookUpAnswered(platforms...)
	orders := p.order(l.LookupID, "kill", platforms...)
	for range kills - 1 {
		h.kill()
		h = startDev(t, data)
	}
	h.kill()
	h = startDev(t, data)
	p = p.at(h)
	end := h.began.Add(afterRestart)
	if list := want[ordersBody](t, p.get("/v1/unbinds")); len(list.Unbinds) != len(platforms) {
		t.Fatalf("%d orders after the restart, want %d: %+v", len(list.Unbinds), len(platforms), list)
	}
	wanted := make(map[string]int)
	for platform, o := range orders {
		until := end
		if platform == "sim-redirecting" {
			until = soon() // it takes the person 6 s to get to the page
		}
		p.awaitOrder(o.UnbindID, until, "UNBIND_STATE_COMPLETED")
		wanted[fmt.Sprintf("%s at %s", o.UnbindID, platform)] = 1
	}
	if got := effects(t, data); fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Errorf("effects %v, want %v", got, wanted)
	}
	for platform, o := range p.order(l.LookupID, "kill", platforms...) {
		if o.UnbindID != orders[platform].UnbindID {
			t.Errorf("%s: the repeat after a restart returned %+v, want order %s", platform, o, orders[platform].UnbindID)
		}
	}
	after := p.lookUpAnswered(platforms...)
	for platform, s := range map[string]split{"sim-sync": {0, 1}, "sim-slow": {}, "sim-async": {}, "sim-redirecting": {}, "sim-flapping": {0, 1}} {
		wantRow(t, after, platform, s)
	}
}
