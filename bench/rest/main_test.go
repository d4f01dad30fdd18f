package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	roleMain() // the program runs copies of itself
	os.Exit(m.Run())
}

// A short run proves that every arm answers; its figures are worth nothing.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-platforms", "3", "-clients", "2", "-rounds", "1", "-seconds", "0.3", "-warm", "0.1", "-folder", t.TempDir()}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"Tongcha", "net/http aggregator", "nginx", "What is not the same"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-clients", "0"}, {"-seconds", "0"}, {"-seconds", "601"}, {"-platforms", "201"}, {"x"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
