//go:build chaos

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// afterHealing is the promise: so long after a network has healed, orders that were
// placed meanwhile come to their ends again.
const afterHealing = 20 * time.Second

// A fault is one way in which a connector can't be reached.
type fault struct {
	name        string
	apply, heal func(*lan, *site)
}

// Packets are dropped where they arrive: the sender's kernel must not know.
var faults = []fault{
	{"both-ways", func(n *lan, s *site) { n.drop(s.ns, s.link); n.drop(n.hub, s.link) }, func(n *lan, s *site) { n.pass(s.ns, s.link); n.pass(n.hub, s.link) }},
	{"to-the-connector", func(n *lan, s *site) { n.drop(s.ns, s.link) }, func(n *lan, s *site) { n.pass(s.ns, s.link) }},
	{"to-the-hub", func(n *lan, s *site) { n.drop(n.hub, s.link) }, func(n *lan, s *site) { n.pass(n.hub, s.link) }},
	{"refused", func(n *lan, s *site) { n.filter(s.ns, append([]string{"-A"}, refuse...)...) }, func(n *lan, s *site) { n.filter(s.ns, append([]string{"-D"}, refuse...)...) }},
	{"stopped", func(n *lan, s *site) { n.signal(s, syscall.SIGSTOP) }, func(n *lan, s *site) { n.signal(s, syscall.SIGCONT) }},
}

var refuse = []string{"INPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"}

// TestNetShort cuts two connectors off for 9 s.
func TestNetShort(t *testing.T) {
	partition(t, []fault{faults[0], faults[2]}, 9*time.Second, 12, 0)
}

// TestNetLong cuts connectors off in each way, for a minute and for four, and
// heals the network at several moments of the hub's attempts to connect.
func TestNetLong(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 4 * time.Minute} { // a session ends after five idle ones
		t.Run(outage.String(), func(t *testing.T) {
			partition(t, faults, outage, 40, 0, 5*time.Second, 10*time.Second)
		})
	}
}

// partition places orders of so many people while connectors are cut off, for each
// fault one for every moment of healing after the outage, and wants the promise
// kept at each.
func partition(t *testing.T, faults []fault, outage time.Duration, people int, moments ...time.Duration) {
	n := newLAN(t)
	h, w := n.startHub(people)
	for _, f := range faults {
		for _, m := range moments {
			n.newSite(h, f, outage+m)
		}
	}
	for _, s := range n.sites {
		w.platforms = append(w.platforms, s.id)
	}
	w.moveIn(t, h)
	const before = 2
	made := n.orders(t, h, w, 0, before, 0)
	n.ended(t, h, w, made, patience) // every connector works
	for _, s := range n.sites {
		s.fault.apply(n, s)
		s.cut, s.first, s.ended = time.Now(), 0, 0
	}
	late := n.orders(t, h, w, before, people, outage/time.Duration(people-before))
	n.ended(t, h, w, late, 2*outage+2*time.Minute)

	done := n.effects(t)
	for _, p := range slices.Concat(made, late) {
		if got := done[p.id+" at "+p.platform]; got != 1 {
			t.Errorf("order %s at %s had %d effects", p.id, p.platform, got)
		}
	}
	if len(done) != len(made)+len(late) {
		t.Errorf("%d orders had effects, %d were acknowledged", len(done), len(made)+len(late))
	}
	for _, s := range n.sites {
		t.Logf("%-18s cut off for %3.0f s, %d orders meanwhile: after the healing the first ended within %4.1f s, the last within %4.1f s",
			s.id, s.healed.Sub(s.cut).Seconds(), s.ended, s.first.Seconds(), s.last.Seconds())
		if s.ended == 0 || s.first > afterHealing {
			t.Errorf("%s: the first order ended %v after the healing, promised are %v", s.id, s.first, afterHealing)
		}
	}
	h.stop()
}

// orders places the orders of people from (incl.) to (excl.) at every platform, a
// person's at a time, and returns what was acknowledged: every one must be.
func (n *lan) orders(t *testing.T, h *hub, w *town, from, to int, pause time.Duration) (made []promise) {
	t.Helper()
	for who := from; who < to; who++ {
		next := time.Now().Add(pause)
		for _, platform := range w.platforms {
			p, err := w.order(h.base, who, platform)
			if err != nil {
				t.Fatalf("an order is refused: %v", err)
			}
			made = append(made, p)
		}
		time.Sleep(time.Until(next))
	}
	return made
}

// ended waits until the orders are completed, healing meanwhile what is to be
// healed, and notes when they were.
func (n *lan) ended(t *testing.T, h *hub, w *town, made []promise, within time.Duration) {
	t.Helper()
	open := make(map[string]int) // by person
	left := make(map[string]bool)
	for _, p := range made {
		open[w.people[p.person].token]++
		left[p.id] = true
	}
	for limit := time.Now().Add(within); len(left) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d orders are still open: %v", len(left), len(made), left)
		}
		for _, s := range n.sites {
			s.healWhenDue(n)
		}
		for token := range open {
			var all ordersBody
			if err := call(h.base, "GET", "/v1/unbinds?pageSize=100", token, nil, &all); err != nil {
				t.Fatal(err)
			}
			for _, o := range all.Unbinds {
				if !left[o.UnbindID] || o.State != "UNBIND_STATE_COMPLETED" {
					continue
				}
				delete(left, o.UnbindID)
				n.site(o.PlatformID).note()
				if open[token]--; open[token] == 0 {
					delete(open, token)
				}
			}
		}
	}
}

// healWhenDue ends the site's fault when its time has come.
func (s *site) healWhenDue(n *lan) {
	if !s.cut.IsZero() && s.healed.IsZero() && time.Since(s.cut) >= s.outage {
		s.healed = time.Now()
		s.fault.heal(n, s)
	}
}

// note counts an order that has ended.
func (s *site) note() {
	s.last = time.Since(s.healed)
	if s.ended++; s.ended == 1 {
		s.first = s.last
	}
	if !s.cut.IsZero() && s.healed.IsZero() {
		s.ended = 0 // it got through before the fault was felt
	}
}

// effects counts what the connectors did, by order and platform.
func (n *lan) effects(t *testing.T) map[string]int {
	t.Helper()
	by := make(map[string]int)
	for _, s := range n.sites {
		body, err := os.ReadFile(filepath.Join(s.dir, "effects.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			by[decode[string](t, []byte(line))+" at "+s.id]++
		}
	}
	return by
}

// noted appends what a connector did, before it says so.
func noted(file string, mu *sync.Mutex, orderID string) error {
	mu.Lock()
	defer mu.Unlock()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	line, err := json.Marshal(orderID)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\n", line)
	return err
}
