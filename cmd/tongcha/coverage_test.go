package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCatalogueFile takes the demonstration's catalogue out, changes it as a
// clerk would, and puts it back.
func TestCatalogueFile(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	first := h.cli("catalogue", "export").must(t).stdout
	if first != string(demoCatalogue) {
		t.Errorf("the demonstration's catalogue is not what its file says:\n%s", first)
	}
	same := write(t, "same.csv", "\ufeff"+strings.ReplaceAll(first, "\n", "\r\n")) // as Excel saves it
	if r := h.cli("catalogue", "diff", same).must(t); r.stdout != "" || !strings.Contains(r.stderr, "0 added, 0 changed, 0 removed, 0 missing in the file, 8 the same; compared.") {
		t.Errorf("diff of the same: %+v", r)
	}

	changed := strings.ReplaceAll(first, "sim-sync,模拟商城,Simulated Mall,网上购物,300,", "new-mall,新商城,,网上购物,1,,\nsim-sync,改名商城,Simulated Mall,网上购物,301.5,")
	changed = strings.Join(slices.DeleteFunc(strings.SplitAfter(changed, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "sim-absent,") || strings.HasPrefix(line, "sim-slow,")
	}), "")
	file := write(t, "new.csv", changed)
	r := h.cli("catalogue", "diff", file)
	rows := columns(t, r.stdout)
	want := [][]string{
		{"PLATFORM", "CHANGE", "COLUMN", "IN THE CATALOGUE", "IN THE FILE"},
		{"new-mall", "ADDED", "-", "-", "new"},
		{"sim-absent", "MISSING", "-", "catalogued", "-"},
		{"sim-slow", "MISSING", "-", "joined", "-"},
		{"sim-sync", "CHANGED", "name_zh", "模拟商城", "改名商城"},
		{"sim-sync", "CHANGED", "weight", "300", "301.5"},
	}
	if r.code != exitDiffers || !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("diff: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	h.cli("catalogue", "import", file, "--dry-run", "--remove-missing").must(t)
	if got := h.cli("catalogue", "export").must(t).stdout; got != first {
		t.Errorf("a dry run changed it to\n%s", got)
	}
	if r := h.cli("catalogue", "import", file, "--remove-missing", "-o", "json").must(t); !strings.Contains(r.stderr, "1 added, 1 changed, 1 removed, 1 missing in the file, 5 the same; imported.") || !strings.Contains(r.stdout, `"kind": "REMOVED"`) {
		t.Errorf("import: %+v", r)
	}
	p := decode[platformView](t, []byte(h.cli("platform", "show", "sim-sync", "-o", "json").must(t).stdout))
	if p.DisplayName != "改名商城" || p.State != "JOINED" || p.Health != "SERVING" {
		t.Errorf("after the import: %+v", p)
	}
	second := h.cli("catalogue", "export").must(t).stdout
	again := command(t, "catalogue", "import", "-", "--data", data)
	again.Stdin = strings.NewReader(second)
	if r := finish(t, again).must(t); r.stdout != "" || h.cli("catalogue", "export").must(t).stdout != second {
		t.Errorf("what was exported changes something: %s", r.stdout)
	}

	h.stop()
	h = startDev(t, data) // joins its platforms anew, and keeps what the file said
	kept := h.cli("catalogue", "export").must(t).stdout
	if !strings.Contains(kept, "sim-sync,改名商城,Simulated Mall,网上购物,301.5,2024-07-01,") || !strings.Contains(kept, "new-mall,新商城,,网上购物,1,,\n") {
		t.Errorf("after a restart:\n%s", kept)
	}
	badCatalogues(t, h, kept)
}

func badCatalogues(t *testing.T, h *hub, before string) {
	bad := write(t, "bad.csv", "platform_id,name_zh,name_en,category,weight,obliged_since,source\nnew,新,,x,-1,,\nsim-sync,商城,,网上购物,,2024-07-01,\n")
	for _, verb := range []string{"import", "diff"} {
		r := h.cli("catalogue", verb, bad)
		for _, want := range []string{"line 2, category: ", "line 2, weight: ", "line 3, weight: a platform that is obliged to join needs a weight", "nothing was changed"} {
			if r.code != exitFailure || !strings.Contains(r.stderr, want) {
				t.Errorf("%s: %+v does not say %q", verb, r, want)
			}
		}
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"catalogue", "import", filepath.Join(t.TempDir(), "none.csv")}, exitUsage},
		{[]string{"catalogue", "import"}, exitUsage},
		{[]string{"catalogue", "export", "-o", "json"}, exitUsage},
		{[]string{"coverage", "platforms", "--by", "hour"}, exitUsage},
		{[]string{"coverage", "platforms", "--sort", "name"}, exitUsage},
		{[]string{"coverage", "summary", "--from", "tomorrow"}, exitFailure},
		{[]string{"coverage", "platforms", "--category", "x"}, exitFailure},
	} {
		if r := h.cli(c.args...); r.code != c.code || r.stderr == "" {
			t.Errorf("%v: %+v, want exit code %d", c.args, r, c.code)
		}
	}
	if r := tongcha(t, "coverage", "summary", "--data", t.TempDir()); r.code != exitUnreachable {
		t.Errorf("without a hub: %+v", r)
	}
	if got := h.cli("catalogue", "export").must(t).stdout; got != before {
		t.Errorf("a refused file changed the catalogue to\n%s", got)
	}
}

type (
	sharesView struct {
		Obliged           int
		JoinedObliged     int
		Unmeasured        int
		JoinedCoverage    *float64
		WeightedCoverage  *float64
		EffectiveCoverage *float64
	}
	figuresView struct {
		PlatformID    string
		Category      string
		Date          string
		Asked         int
		AnswerRate    *float64
		SilentRate    *float64
		Shares        sharesView
		ResponseTimes []struct {
			Percent      int
			WithinMillis *int
			TimedOut     bool
		}
		Lookups *struct{ Asked int }
	}
)

// TestCoverageCommands: figures before anything was asked, and after one lookup.
func TestCoverageCommands(t *testing.T) {
	t.Parallel()
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	summary := func(args ...string) figuresView {
		t.Helper()
		return decode[figuresView](t, []byte(h.cli(append([]string{"coverage", "summary", "-o", "json"}, args...)...).must(t).stdout))
	}
	// By weight 1625.5 of 1705.5; 80 has not joined.
	before := summary()
	if s := before.Shares; s.Obliged != 7 || s.JoinedObliged != 6 || s.Unmeasured != 6 || *s.JoinedCoverage != 6.0/7 || *s.WeightedCoverage != 1625.5/1705.5 || s.EffectiveCoverage != nil {
		t.Errorf("before: %+v", s)
	}
	if before.AnswerRate != nil || len(before.ResponseTimes) != 0 {
		t.Errorf("figures of nothing: %+v", before)
	}
	text := h.cli("coverage", "summary").must(t).stdout
	for _, line := range []string{"weighted coverage              95.3%", "effective coverage             -", "answered in time               0, -", "95 of 100 within               -"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the summary has no line %q:\n%s", line, text)
		}
	}
	h.verified(demoNumber, demoSuffix).lookUp("sim-sync", "sim-silent")
	after := summary()
	if after.Asked != 2 || *after.AnswerRate != 0.5 || *after.SilentRate != 0.5 || *after.Shares.EffectiveCoverage != 300.0/380 {
		t.Errorf("after: %+v, effective %v", after, after.Shares.EffectiveCoverage)
	}
	if p95 := after.ResponseTimes[2]; p95.Percent != 95 || p95.WithinMillis != nil || !p95.TimedOut {
		t.Errorf("95 of 100: %+v", p95)
	}
	coverageRows(t, h)
	rest := want[struct{ Days []figuresView }](t, h.do("GET", "/v1/coverage/platforms?groupBy=DAY", "", nil))
	if len(rest.Days) != 1 || rest.Days[0].Lookups.Asked != 2 {
		t.Errorf("REST: %+v", rest)
	}
	for _, path := range []string{"/v1/coverage/unbinds", "/v1/coverage/refusals?category=网上购物", "/v1/coverage?fromDate=" + rest.Days[0].Date} {
		if r := h.do("GET", path, "", nil); r.status != 200 {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

func coverageRows(t *testing.T, h *hub) {
	rows := columns(t, h.cli("coverage", "platforms", "--sort", "answered").must(t).stdout)
	if len(rows) != len(everySim)+1 || rows[1][0] != "sim-silent" || rows[1][7] != "0.0%" || rows[1][11] != "timeout" || rows[2][0] != "sim-sync" || rows[3][7] != "-" || rows[3][11] != "-" {
		t.Errorf("platforms by answer rate: %q", rows)
	}
	rows = columns(t, h.cli("coverage", "platforms", "--sort", "weight").must(t).stdout)
	if rows[1][0] != "sim-refusing" || rows[1][4] != "700" || rows[1][5] != "2024-07-01" || rows[8][0] != "sim-silent" || rows[8][5] != "-" {
		t.Errorf("platforms by weight: %q", rows)
	}
	if rows = columns(t, h.cli("coverage", "platforms", "--by", "category", "--category", "网上购物").must(t).stdout); len(rows) != 2 || rows[1][0] != "网上购物" || rows[1][1] != "1/1" || rows[1][4] != "100.0%" {
		t.Errorf("one category: %q", rows)
	}
	if rows = columns(t, h.cli("coverage", "platforms", "--by", "day", "--platform", "sim-silent").must(t).stdout); len(rows) != 2 || rows[1][1] != "1" || rows[1][2] != "0.0%" || rows[1][3] != "100.0%" {
		t.Errorf("one platform by day: %q", rows)
	}
}
