package main

import (
	"os"
	"strings"
	"testing"
)

// TestMain lets the test be a hub, as the program can.
func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestRun: all figures are there. Whether they are good, so few orders do not say.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(&out, settings{dir: t.TempDir(), orders: 20_000, perPerson: 20}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"claim of 100 ", "random ids", "ready", "resident memory"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
