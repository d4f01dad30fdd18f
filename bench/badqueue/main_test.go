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

// Platforms that turn bad complete hardly any order and get few; otherwise the
// program would compare a clean run with a clean one.
func TestCompare(t *testing.T) {
	var out strings.Builder
	s, err := parse([]string{"-quick", "-rate", "100", "-round", "1s", "-warm", "300ms", "-dir", t.TempDir()})
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
	if clean.share != 1 || clean.badDone == 0 || clean.p99 <= 0 || clean.rss <= 0 {
		t.Errorf("clean: %+v", clean)
	}
	if bad.share != 1 || bad.badDone*2 > clean.badDone || bad.p99 <= 0 {
		t.Errorf("bad: %+v", bad)
	}
	if rows := b.rows(all); len(rows) != 4 || strings.Count(out.String(), "\n") != 2 {
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
