package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// everySim is the demonstration's catalogue; all but the last have joined.
var everySim = []string{
	"sim-async", "sim-flapping", "sim-redirecting", "sim-refusing", "sim-silent", "sim-slow", "sim-sync", "sim-absent",
}

// split is what a lookup shows of a platform that answered.
type split struct{ before, since int }

// wantRow checks an answer that is there: bound, with the numbers given, or not
// bound where both are 0.
func wantRow(t *testing.T, l lookupBody, platform string, want split) {
	t.Helper()
	r := l.row(t, platform)
	state := "ANSWER_STATE_BOUND"
	if want == (split{}) {
		state = "ANSWER_STATE_NOT_BOUND"
	}
	if r.State != state || r.AccountCount == nil || r.BoundBeforeHolder == nil || r.BoundSinceHolder == nil {
		t.Fatalf("%s: got %+v, want %s with %+v", platform, r, state, want)
	}
	got := split{*r.BoundBeforeHolder, *r.BoundSinceHolder}
	if got != want || *r.AccountCount != want.before+want.since || r.AnswerTime.IsZero() {
		t.Fatalf("%s: got %+v and %d accounts, want %+v", platform, got, *r.AccountCount, want)
	}
}

// wantAbsent checks a row that is no answer: it says so and shows no count.
func wantAbsent(t *testing.T, l lookupBody, platform, state string) {
	t.Helper()
	r := l.row(t, platform)
	if r.State != state || r.AccountCount != nil || r.BoundBeforeHolder != nil || r.BoundSinceHolder != nil {
		t.Fatalf("%s: got %+v, want %s and no counts", platform, r, state)
	}
}

// tallies counts in the test what the hub's coverage has to show.
type tallies map[string]*coverageRow

func (c tallies) add(l lookupBody) {
	for _, r := range l.Answers {
		if c[r.PlatformID] == nil {
			c[r.PlatformID] = new(coverageRow)
		}
		switch r.State {
		case "ANSWER_STATE_BOUND", "ANSWER_STATE_NOT_BOUND", "ANSWER_STATE_NO_DATA":
			c[r.PlatformID].Asked++
			c[r.PlatformID].Answered++
		case "ANSWER_STATE_SILENT":
			c[r.PlatformID].Asked++
			c[r.PlatformID].Silent++
		}
	}
}

type (
	coverageRow struct {
		PlatformID         string   `json:"platformId"`
		Joined             bool     `json:"joined"`
		Asked              int      `json:"asked"`
		Answered           int      `json:"answered"`
		Silent             int      `json:"silent"`
		AnswerRate         *float64 `json:"answerRate"`
		MedianAnswerMillis *int     `json:"medianAnswerMillis"`
		P95AnswerMillis    *int     `json:"p95AnswerMillis"`
		OpenOrders         int      `json:"openOrders"`
		OverdueOrders      int      `json:"overdueOrders"`
		CompletedOrders    int      `json:"completedOrders"`
		RefusedOrders      int      `json:"refusedOrders"`
	}
	coverageBody struct {
		coverageRow
		Since      time.Time     `json:"since"`
		Catalogued int           `json:"catalogued"`
		Joined     int           `json:"joined"`
		Platforms  []coverageRow `json:"platforms"`
	}
)

// wantCoverage compares the hub's figures with those counted in the test.
func wantCoverage(t *testing.T, h *hub, want tallies) coverageBody {
	t.Helper()
	c := open[coverageBody](t, h, "/v1/coverage")
	if c.Catalogued != len(everySim) || c.Joined != len(everySim)-1 || len(c.Platforms) != len(everySim) {
		t.Fatalf("catalogued %d, joined %d, %d rows", c.Catalogued, c.Joined, len(c.Platforms))
	}
	var sum coverageRow
	for _, r := range c.Platforms {
		w := want[r.PlatformID]
		if r.Asked != w.Asked || r.Answered != w.Answered || r.Silent != w.Silent ||
			r.CompletedOrders != w.CompletedOrders || r.RefusedOrders != w.RefusedOrders || r.OpenOrders != w.OpenOrders || r.OverdueOrders != 0 {
			t.Errorf("coverage of %s: got %+v, want %+v", r.PlatformID, r, *w)
		}
		if (r.AnswerRate != nil) != (r.Asked > 0) || (r.MedianAnswerMillis != nil) != (r.Answered > 0) || (r.P95AnswerMillis != nil) != (r.Answered > 0) {
			t.Errorf("coverage of %s: %+v shows figures of nothing, or none of something", r.PlatformID, r)
		}
		if r.Asked > 0 && *r.AnswerRate != float64(r.Answered)/float64(r.Asked) {
			t.Errorf("coverage of %s: rate %v", r.PlatformID, *r.AnswerRate)
		}
		sum.Asked, sum.Answered, sum.Silent, sum.OpenOrders = sum.Asked+r.Asked, sum.Answered+r.Answered, sum.Silent+r.Silent, sum.OpenOrders+r.OpenOrders
	}
	if c.Asked != sum.Asked || c.Answered != sum.Answered || c.Silent != sum.Silent || c.OpenOrders != sum.OpenOrders {
		t.Errorf("coverage in all is %+v, its rows add up to %+v", c.coverageRow, sum)
	}
	return c
}

func open[T any](t *testing.T, h *hub, path string) T {
	t.Helper()
	return want[T](t, h.do("GET", path, "", nil))
}

// TestDevJourney is a person's whole way through `tongcha dev` without any file.
func TestDevJourney(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	if took := time.Since(h.began); took > 5*time.Second {
		t.Errorf("ready after %v", took)
	}
	checkOperations(t, h)
	count := make(tallies)
	p := h.verified(demoNumber, demoSuffix)
	first := p.lookUp()
	count.add(first)
	checkFirstLookup(t, first)

	orders := p.order(first.LookupID, "first", everySim...)
	checkRepeat(t, p, first.LookupID, orders)
	if orders["sim-flapping"].UnbindID == "" {
		l := p.lookUpAnswered("sim-flapping")
		count.add(l)
		wantRow(t, l, "sim-flapping", split{1, 1})
		orders["sim-flapping"] = p.order(l.LookupID, "flapping", "sim-flapping")["sim-flapping"]
	}
	checkEnds(t, p, orders)
	countOrders(count)

	second := p.lookUp("sim-async", "sim-redirecting", "sim-refusing", "sim-slow", "sim-sync")
	count.add(second)
	checkGone(t, second)
	if o := p.order(second.LookupID, "again", "sim-sync")["sim-sync"]; o.Error.Reason != "NOTHING_TO_UNBIND" {
		t.Errorf("a second order for sim-sync: %+v", o)
	}
	before := wantCoverage(t, h, count)

	h.stop()
	p = p.at(startDev(t, data))
	after := wantCoverage(t, p.hub, count)
	if !after.Since.Equal(before.Since) {
		t.Errorf("first day %v, was %v", after.Since, before.Since)
	}
	checkGone(t, p.lookUp("sim-async", "sim-redirecting", "sim-refusing", "sim-slow", "sim-sync"))
	if again := want[lookupBody](t, p.get("/v1/lookups/"+first.LookupID)); len(again.Answers) != len(everySim) {
		t.Errorf("the first lookup after a restart: %+v", again)
	}
}

func checkFirstLookup(t *testing.T, l lookupBody) {
	t.Helper()
	if len(l.Answers) != len(everySim) || l.Asked != 7 || l.Answered+l.Silent != 7 {
		t.Fatalf("lookup: %+v", l)
	}
	for platform, s := range map[string]split{
		"sim-async": {1, 0}, "sim-redirecting": {1, 0}, "sim-refusing": {1, 0}, "sim-slow": {1, 0}, "sim-sync": {2, 1},
	} {
		wantRow(t, l, platform, s)
	}
	wantAbsent(t, l, "sim-silent", "ANSWER_STATE_SILENT")
	wantAbsent(t, l, "sim-absent", "ANSWER_STATE_NOT_JOINED")
	if r := l.row(t, "sim-flapping"); r.State != "ANSWER_STATE_SILENT" {
		wantRow(t, l, "sim-flapping", split{1, 1})
	}
}

// checkRepeat sends the same request again, and another under the same id.
func checkRepeat(t *testing.T, p person, lookupID string, orders map[string]orderBody) {
	t.Helper()
	for id, reason := range map[string]string{"sim-silent": "NOT_LOOKED_UP", "sim-absent": "UNBIND_UNSUPPORTED"} {
		if orders[id].Error.Reason != reason || orders[id].Error.Message == "" || orders[id].UnbindID != "" {
			t.Errorf("an order for %s: %+v", id, orders[id])
		}
	}
	for id, o := range p.order(lookupID, "first", everySim...) {
		if o.UnbindID != orders[id].UnbindID || o.Error.Reason != orders[id].Error.Reason {
			t.Errorf("%s: the repeat returned %+v, first %+v", id, o, orders[id])
		}
	}
	other := map[string]any{"lookupId": lookupID, "platformIds": []string{"sim-sync"}, "requestId": "first"}
	wantError(t, p.post("/v1/unbinds", other), 409, "REQUEST_ID_REUSED")
}

// checkEnds waits for each order's end.
func checkEnds(t *testing.T, p person, orders map[string]orderBody) {
	t.Helper()
	redirected := p.awaitOrder(orders["sim-redirecting"].UnbindID, soon(), "UNBIND_STATE_ACTION_REQUIRED")
	if !strings.HasPrefix(redirected.ActionURL, "https://") {
		t.Errorf("action URL %q", redirected.ActionURL)
	}
	for _, id := range []string{"sim-sync", "sim-slow", "sim-async", "sim-flapping", "sim-redirecting"} {
		o := p.awaitOrder(orders[id].UnbindID, soon(), "UNBIND_STATE_COMPLETED")
		if o.AccountCount == 0 || o.DueTime.Before(time.Now()) || o.History[0].State != "UNBIND_STATE_QUEUED" {
			t.Errorf("%s: %+v", id, o)
		}
		if id == "sim-flapping" && o.History[len(o.History)-1].Attempt < 2 {
			t.Errorf("completed without a retry: %+v", o)
		}
	}
	refused := p.awaitOrder(orders["sim-refusing"].UnbindID, soon(), "UNBIND_STATE_REFUSED")
	if refused.Refusal.Reason != "HAS_BALANCE" || refused.Refusal.Text == "" || refused.Refusal.NextStep == "" {
		t.Errorf("refusal %+v", refused.Refusal)
	}
	list := want[ordersBody](t, p.get("/v1/unbinds"))
	if len(list.Unbinds) != 6 {
		t.Errorf("%d orders listed: %+v", len(list.Unbinds), list)
	}
}

func countOrders(c tallies) {
	for _, id := range []string{"sim-sync", "sim-slow", "sim-async", "sim-flapping", "sim-redirecting"} {
		c[id].CompletedOrders++
	}
	c["sim-refusing"].RefusedOrders++
}

// checkGone checks what is left: accounts of the present holder, and those that
// a platform refused to detach.
func checkGone(t *testing.T, l lookupBody) {
	t.Helper()
	for platform, s := range map[string]split{
		"sim-async": {0, 0}, "sim-redirecting": {0, 0}, "sim-refusing": {1, 0}, "sim-slow": {0, 0}, "sim-sync": {0, 1},
	} {
		wantRow(t, l, platform, s)
	}
	wantAbsent(t, l, "sim-flapping", "ANSWER_STATE_NOT_ASKED")
}

// checkOperations looks at what is not for people.
func checkOperations(t *testing.T, h *hub) {
	t.Helper()
	for _, path := range []string{"/livez", "/readyz"} {
		if r := h.do("GET", path, "", nil); r.status != 200 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := h.do("GET", "/metrics", "", nil); r.status != 200 || !strings.Contains(string(r.body), "\ngo_goroutines ") {
		t.Errorf("/metrics: %d", r.status)
	}
	api := open[struct {
		Paths map[string]any `json:"paths"`
	}](t, h, "/openapi.json")
	for _, path := range []string{"/v1/lookups", "/v1/unbinds/{unbindId}", "/v1/unbinds/{unbindId}:appeal", "/v1/coverage"} {
		if api.Paths[path] == nil {
			t.Errorf("openapi.json has no %s, only %v", path, slices.Sorted(maps.Keys(api.Paths)))
		}
	}
	catalogue := open[struct {
		Platforms []struct {
			PlatformID string   `json:"platformId"`
			Joined     bool     `json:"joined"`
			Functions  []string `json:"functions"`
		} `json:"platforms"`
	}](t, h, "/v1/platforms")
	for _, p := range catalogue.Platforms {
		if p.Joined != (p.PlatformID != "sim-absent") {
			t.Errorf("catalogue: %+v", p)
		}
	}
	if len(catalogue.Platforms) != len(everySim) {
		t.Errorf("%d catalogued", len(catalogue.Platforms))
	}
}

// effects counts the lines of effects.ndjson by order and platform.
func effects(t *testing.T, data string) map[string]int {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(data, "simulated", "effects.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	by := make(map[string]int)
	for line := range strings.Lines(string(body)) {
		e := decode[struct {
			OrderID    string `json:"order_id"`
			PlatformID string `json:"platform_id"`
		}](t, []byte(line))
		by[fmt.Sprintf("%s at %s", e.OrderID, e.PlatformID)]++
	}
	return by
}
