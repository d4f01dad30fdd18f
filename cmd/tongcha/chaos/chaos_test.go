//go:build chaos

package chaos

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fromEnv reads a number that make passes on.
func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: want a whole number", name)
	}
	return n
}

// built is the binary as an operator has it, or with tags.
func built(t *testing.T, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tongcha")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), "..")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

// report prints breaches and fails, with how to draw the same chances again.
func report(t *testing.T, s siege, f figures) {
	t.Helper()
	for i, b := range f.breaches {
		if i == 50 {
			t.Errorf("… %d more", len(f.breaches)-i)
			break
		}
		t.Error(b)
	}
	if t.Failed() {
		t.Logf("the same chances again: CHAOS_SEED=%d CHAOS_HUBS=%d CHAOS_KILLS=%d", s.seed, s.hubs, s.kills)
	}
}

// TestChaosLong is `make chaos`.
func TestChaosLong(t *testing.T) {
	s := siege{
		hubs: int(fromEnv(t, "CHAOS_HUBS", 4)), kills: int(fromEnv(t, "CHAOS_KILLS", 2400)), people: 12,
		seed: fromEnv(t, "CHAOS_SEED", rand.Uint64()), each: 4, settle: 3 * time.Minute, tell: 10 * time.Second,
	}
	report(t, s, s.run(t, built(t)))
}

// TestChaosShort is the step of .ci/run: some kills at each moment, and proof that
// a hub that does break the promises is found out.
func TestChaosShort(t *testing.T) {
	checkTheCheck(t)
	s := siege{
		hubs: int(fromEnv(t, "CHAOS_HUBS", 2)), kills: int(fromEnv(t, "CHAOS_KILLS", 160)), people: 12,
		seed: fromEnv(t, "CHAOS_SEED", rand.Uint64()), each: 4, settle: time.Minute,
	}
	report(t, s, s.run(t, built(t)))
	brokenFence(t)
}

// brokenFence besieges a hub whose leases do not hold.
func brokenFence(t *testing.T) {
	t.Helper()
	s := siege{hubs: 1, kills: 10, people: 12, seed: fromEnv(t, "CHAOS_SEED", rand.Uint64()), settle: time.Minute}
	f := s.run(t, built(t, "-tags", "brokenfence"))
	for _, b := range f.breaches {
		if strings.Contains(b, "are open at") {
			t.Logf("a hub whose leases do not hold is found out: %s", b)
			return
		}
	}
	t.Errorf("nothing was found wrong with a hub whose leases do not hold; %s; %v", f, f.breaches)
}
