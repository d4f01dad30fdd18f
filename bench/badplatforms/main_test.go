package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
)

// TestMain lets the test be platforms, as the program can.
func TestMain(m *testing.M) {
	fleet.Main()
	os.Exit(m.Run())
}

// Platforms that turn bad hardly answer and the others do; otherwise the program
// would compare a clean run with a clean one.
func TestCompare(t *testing.T) {
	var out strings.Builder
	s, err := parse([]string{"-quick", "-rate", "20", "-round", "300ms", "-warm", "100ms"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{out: &out, settings: s}
	if b.fleet, err = fleet.Start(b.Platforms, 2); err != nil {
		t.Fatal(err)
	}
	defer b.fleet.Close()
	all, err := b.compare()
	if err != nil {
		t.Fatal(err)
	}
	clean, bad := all[0][0], all[1][0]
	if clean.badShare < 0.5 || clean.share < 0.5 || clean.p99 <= 0 || clean.rss <= 0 {
		t.Errorf("clean: %+v", clean)
	}
	// One of the six answers until its free bytes are used up.
	if bad.badShare > 0.3 || bad.share < 0.5 || bad.p99 <= 0 || bad.rss <= 0 {
		t.Errorf("bad: %+v", bad)
	}
	if bad.poured < 4*clean.poured {
		t.Errorf("%d bytes poured in, %d in the clean run", bad.poured, clean.poured)
	}
	if rows := b.rows(all); len(rows) != 3 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%+v\n%s", rows, out.String())
	}
}

func TestParse(t *testing.T) {
	for _, bad := range [][]string{{"-platforms", "3"}, {"-rounds", "0"}, {"-rate", "0"}, {"rest"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	s, err := parse([]string{"-quick", "-round", "1s"})
	if err != nil || s.Rounds != 1 || s.Round != time.Second || s.Platforms != 20 {
		t.Errorf("%+v, %v", s, err)
	}
}
