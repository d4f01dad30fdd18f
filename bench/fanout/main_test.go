package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/bench/internal/fleet"
)

// TestMain lets the test be platforms, or hold lookups, as the program can.
func TestMain(m *testing.M) {
	fleet.Main()
	holdingMain()
	os.Exit(m.Run())
}

// The program runs every scenario to its end and both arms get answers; what the
// figures are depends on the machine.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.json")
	var out strings.Builder
	err := run([]string{"-quick", "-platforms", "4", "-round", "250ms", "-warm", "50ms", "-held", "20", "-hold", "300ms", "-json", file}, &out)
	if err != nil {
		t.Fatal(err, out.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Scenario, Figure string
			Base, Ours       float64
			Answered         []float64
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 7 {
		t.Errorf("%d rows, want 7", len(got.Rows))
	}
	for _, r := range got.Rows {
		// On a slow machine no lookup may end within a window as short as here.
		got := r.Answered
		if strings.HasPrefix(r.Figure, "live") {
			got = []float64{r.Base, r.Ours}
		}
		if len(got) != 2 || got[0] <= 0 || got[1] <= 0 {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(out.String(), r.Figure) {
			t.Errorf("the table lacks %q", r.Figure)
		}
	}
}

// Waiting as the API does ends too.
func TestWatch(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"-quick", "-platforms", "2", "-round", "250ms", "-warm", "50ms", "-only", "rate0", "-watch"}, &out); err != nil {
		t.Fatal(err, out.String())
	}
}

func TestChoose(t *testing.T) {
	if _, err := choose("rate0,nonsense"); err == nil {
		t.Error("a scenario that doesn't exist was chosen")
	}
	if got, err := choose("memory,rate0"); err != nil || len(got) != 2 || got[0].name != "memory" {
		t.Errorf("%v %v", got, err)
	}
}
