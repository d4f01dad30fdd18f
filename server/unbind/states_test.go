package unbind_test

import (
	"os"
	"slices"
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
		if len(cells) != 8 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "state" ||
			strings.TrimSpace(cells[1]) == "move" || strings.HasPrefix(cells[1], " `") { // the table of moves
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

// TestMovesPage holds the page's table of moves to the machine: the same rows in
// the same order.
func TestMovesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 8 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			if cells[6] == "" {
				t.Errorf("the page does not say when: %s", line)
			}
			got = append(got, strings.Join(cells[1:6], " | "))
		}
	}
	var want []string
	for _, m := range unbind.Moves() {
		to, spends := "as it is", "no"
		if len(m.To) > 0 {
			to = names(m.To)
		}
		if m.Spends {
			spends = "yes"
		}
		want = append(want, strings.Join([]string{"`" + string(m.Cause) + "`", string(m.By), names(m.From), to, spends}, " | "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nthe code has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func names(states []unbind.State) string {
	var all []string
	for _, s := range states {
		all = append(all, s.String())
	}
	return strings.Join(all, ", ")
}

// TestPlatformNeverGoesBack: no row lets a platform lower the rank or leave an
// end.
func TestPlatformNeverGoesBack(t *testing.T) {
	for _, m := range unbind.Moves() {
		for _, from := range m.From {
			for _, to := range m.To {
				if m.By == unbind.ByPlatform && (from.Final() || to.Rank() < from.Rank()) {
					t.Errorf("%s moves %s to %s", m.Cause, from, to)
				}
			}
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
