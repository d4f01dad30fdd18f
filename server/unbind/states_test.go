package unbind_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/unbind"
)

// TestStatesPage holds docs/states.md to the code: one row for every state, with
// its rank, and none for anything else.
func TestStatesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	ranks := make(map[unbind.State]string)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 8 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "state" {
			continue
		}
		s, ok := unbind.ParseState(strings.TrimSpace(cells[1]))
		if !ok || ranks[s] != "" {
			t.Errorf("the page has a row %q, which is no state or is there twice", cells[1])
		}
		ranks[s] = strings.TrimSpace(cells[2])
		for _, c := range cells[3:7] {
			if strings.TrimSpace(c) == "" {
				t.Errorf("the row of %s has an empty cell", s)
			}
		}
	}
	for s := unbind.Queued; s.String() != ""; s++ {
		if ranks[s] != strconv.Itoa(s.Rank()) {
			t.Errorf("the page gives %s the rank %q, the code %d", s, ranks[s], s.Rank())
		}
	}
}

func TestStateNames(t *testing.T) {
	n := 0
	for s := unbind.Queued; s.String() != ""; s++ {
		n++
		if got, ok := unbind.ParseState(s.String()); !ok || got != s {
			t.Errorf("ParseState(%q) = %v, %v", s.String(), got, ok)
		}
	}
	if n != 9 {
		t.Errorf("%d states, want 9", n)
	}
	for _, bad := range []string{"", "queued", "SENT"} {
		if s, ok := unbind.ParseState(bad); ok || s != 0 {
			t.Errorf("ParseState(%q) = %v, %v", bad, s, ok)
		}
	}
}
