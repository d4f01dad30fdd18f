package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOwnFiles lets a hub read files it has never seen and compares everything
// it says with the test's own reckoning.
func TestOwnFiles(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(seed, 12)
	files := w.files(t)
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data, files...)
	people := make(map[string]person)
	lookups := make(map[string]lookupBody)
	for _, number := range w.numbers {
		people[number] = h.verified(number, w.suffix(number))
		lookups[number] = w.check(t, people[number], number)
	}
	checkWrongSuffix(t, h, w)
	orders := make(map[string]int)
	for i, number := range w.numbers {
		if i%3 == 2 {
			continue // these stay as they are
		}
		for _, id := range w.order(t, people[number], number, lookups[number].LookupID) {
			orders[id]++
		}
	}
	for _, number := range w.numbers {
		w.check(t, people[number], number)
	}
	got := effects(t, data)
	if fmt.Sprint(got) != fmt.Sprint(orders) {
		t.Errorf("effects %v, want %v", got, orders)
	}
	h.stop()
	w.accounts = append(w.accounts, worldAccount{platform: "later", number: w.numbers[0], boundAt: time.Unix(1_500_000_000, 0)})
	h = startDev(t, data, w.files(t)...) // the old rows in another order, and a new one
	for _, number := range w.numbers {
		w.check(t, people[number].at(h), number)
	}
	w.checkPlatform(t, people[w.numbers[0]].at(h).lookUp("later"), "later", w.numbers[0])
}

// check looks a number up and compares each platform's row.
func (w *world) check(t *testing.T, p person, number string) lookupBody {
	t.Helper()
	if _, held := w.holder(number); held != (p.holderSince != nil) {
		t.Fatalf("number %d: held %v, holderSince %v", w.place(number), held, p.holderSince)
	}
	l := p.lookUp(worldPlatforms...)
	for _, platform := range worldPlatforms {
		w.checkPlatform(t, l, platform, number)
	}
	if l.Asked != len(worldPlatforms) || l.Answered != len(worldPlatforms) {
		t.Fatalf("lookup: %+v", l)
	}
	return l
}

func (w *world) place(number string) int {
	for i, n := range w.numbers {
		if n == number {
			return i
		}
	}
	return -1
}

func (w *world) checkPlatform(t *testing.T, l lookupBody, platform, number string) {
	t.Helper()
	want, all := w.row(platform, number)
	if _, held := w.holder(number); held {
		wantRow(t, l, platform, want)
		return
	}
	r := l.row(t, platform)
	if r.AccountCount == nil || *r.AccountCount != all || r.BoundBeforeHolder != nil || r.BoundSinceHolder != nil {
		t.Fatalf("%s: %+v, want %d accounts and no split", platform, r, all)
	}
	if platform != "sim-sync" && (r.Category != "实用工具" || r.DisplayName != platform) {
		t.Fatalf("%s in the catalogue: %+v", platform, r)
	}
}

// order unbinds a number at every platform, waits, and returns "order at
// platform" of each order made.
func (w *world) order(t *testing.T, p person, number, lookupID string) []string {
	t.Helper()
	var made []string
	_, held := w.holder(number)
	for platform, o := range p.order(lookupID, "all", worldPlatforms...) {
		s, _ := w.row(platform, number)
		reason := ""
		switch {
		case !held:
			reason = "HOLDER_UNATTESTED"
		case s.before == 0:
			reason = "NOTHING_TO_UNBIND"
		}
		if o.Error.Reason != reason {
			t.Fatalf("an order of number %d at %s: %+v, want reason %q", w.place(number), platform, o, reason)
		}
		if reason != "" {
			continue
		}
		done := p.awaitOrder(o.UnbindID, soon(), "UNBIND_STATE_COMPLETED")
		if done.AccountCount != s.before {
			t.Fatalf("an order for %d accounts, want %d", done.AccountCount, s.before)
		}
		made = append(made, fmt.Sprintf("%s at %s", o.UnbindID, platform))
		w.unbind(platform, number)
	}
	return made
}

// checkWrongSuffix tries an earlier holder's suffix, and one that is to come.
func checkWrongSuffix(t *testing.T, h *hub, w *world) {
	t.Helper()
	tried := 0
	for _, row := range w.holders {
		now, held := w.holder(row.number)
		if !held || row.suffix == now.suffix || tried == 2 {
			continue
		}
		tried++
		p := person{hub: h, number: row.number, suffix: row.suffix}
		id, code := p.askCode()
		wantError(t, p.confirm(id, code), 403, "VERIFICATION_FAILED")
	}
	if tried == 0 {
		t.Error("no number had two holders")
	}
}

// TestOwnFolderGoesOn starts a folder of own rows again without naming the
// files: the rows of the demonstration do not join them.
func TestOwnFolderGoesOn(t *testing.T) {
	t.Parallel()
	const suffix = "019999"
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data,
		"--accounts", write(t, "accounts.csv", "platform_id,phone_number,product,bound_at,id_suffix\nmall,"+demoNumber+",账号,2015-01-01,\n"),
		"--holders", write(t, "holders.csv", "phone_number,id_suffix,holder_since\n"+demoNumber+","+suffix+",2016-01-01\n"))
	p := h.verified(demoNumber, suffix)
	h.stop()
	p = p.at(startDev(t, data))
	l := p.lookUp("mall", "sim-sync")
	wantRow(t, l, "mall", split{1, 0})
	wantRow(t, l, "sim-sync", split{})
	if out := p.hub.stdout.String(); strings.Contains(out, demoNumber) {
		t.Errorf("a number is offered that has no rows:\n%s", out)
	}
}

// TestBadRows starts with files that have one bad row: the start has to fail,
// name the line, and repeat nothing that stands in it.
func TestBadRows(t *testing.T) {
	t.Parallel()
	const (
		accounts = "platform_id,phone_number,product,bound_at,id_suffix\nmall,13800000002,账号,2020-01-01T00:00:00Z,\n"
		holders  = "phone_number,id_suffix,holder_since\n13800000002,15002X,2024-03-01\n"
	)
	for name, c := range map[string]struct {
		file, value string
		line        int
	}{
		"number too short":      {accounts + "mall,1380000000,账号,2020-01-01,\n", "1380000000", 3},
		"number too long":       {accounts + "mall,138000000027,账号,2020-01-01,\n", "138000000027", 3},
		"landline":              {accounts + "mall,01062771234,账号,2020-01-01,\n", "62771234", 3},
		"thing":                 {accounts + "mall,14412345678,账号,2020-01-01,\n", "14412345678", 3},
		"letters for a number":  {accounts + "mall,1380000OOO2,账号,2020-01-01,\n", "OOO2", 3},
		"no number":             {accounts + "mall,,账号,2020-01-01,\n", "", 3},
		"platform in capitals":  {accounts + "\nMALLxyz,13800000002,账号,2020-01-01,\n", "MALLxyz", 4},
		"no platform":           {accounts + ",13800000002,账号,2020-01-01,\n", "", 3},
		"platform with a path":  {accounts + "../mall,13800000002,账号,2020-01-01,\n", "../mall", 3},
		"platform with a point": {accounts + ".mallxyz,13800000002,账号,2020-01-01,\n", ".mallxyz", 3},
		"no time":               {accounts + "mall,13800000002,账号,,\n", "", 3},
		"time of another kind":  {accounts + "mall,13800000002,账号,20.11.2021,\n", "20.11.2021", 3},
		"30 February":           {accounts + "mall,13800000002,账号,2021-02-30,\n", "2021-02-30", 3},
		"before 1970":           {accounts + "mall,13800000002,账号,1949-10-01T15:00:00Z,\n", "1949", 3},
		"bad suffix":            {accounts + "mall,13800000002,账号,2020-01-01,99887Y\n", "99887Y", 3},
		"long product":          {accounts + "mall,13800000002," + strings.Repeat("长", 65) + ",2020-01-01,\n", "长长", 3},
		"bell in a product":     {accounts + "mall,13800000002,ding\adong,2020-01-01,\n", "dong", 3},
		"bad UTF-8":             {accounts + "mall,13800000002,b\xffad,2020-01-01,\n", "ad,", 3},
		"field missing":         {accounts + "mall,13800000002,账号,2020-01-01\n", "", 3},
		"field too many":        {accounts + "mall,13800000002,账号,2020-01-01,,\n", "", 3},
		"quote left open":       {accounts + "mall,13800000002,\"账号,2020-01-01,\n", "", 3},
		"no header":             {accounts[strings.Index(accounts, "\n")+1:], "13800000002", 1},
		"column twice":          {"platform_id,phone_number,phone_number,bound_at,id_suffix\n", "", 1},
		"empty file":            {"", "", 1},
		"holder's bad suffix":   {holders + "13900000003,32999,2024-03-01\n", "32999", 3},
		"holder without suffix": {holders + "13900000003,,2024-03-01\n", "", 3},
		"holder's bad number":   {holders + "12900000003,15002X,2024-03-01\n", "12900000003", 3},
		"holder's bad time":     {holders + "13900000003,15002X,gestern\n", "gestern", 3},
		"two of a file are bad": {holders + "13900000003,15002X,gestern\n13900000003,15002X,morgen\n", "gestern", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flag := "--accounts"
			if strings.HasPrefix(c.file, "phone_number") {
				flag = "--holders"
			}
			checkBadFile(t, flag, c.file, c.value, c.line)
		})
	}
}

func checkBadFile(t *testing.T, flag, content, value string, line int) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	r := tongcha(t, "dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", flag, write(t, "bad.csv", content))
	if r.code == 0 || r.stdout != "" {
		t.Fatalf("exit code %d, stdout %q", r.code, r.stdout)
	}
	if !strings.Contains(r.stderr, fmt.Sprintf("%s ", flag)) || !strings.Contains(r.stderr, fmt.Sprintf("bad.csv: line %d: ", line)) {
		t.Errorf("line %d is not named: %s", line, r.stderr)
	}
	if value != "" && strings.Contains(r.stderr, value) {
		t.Errorf("a value of the file is repeated: %s", r.stderr)
	}
	for _, name := range []string{"accounts.ndjson", "holders.ndjson"} {
		if b, err := os.ReadFile(filepath.Join(data, "simulated", name)); err == nil && len(b) > 0 {
			t.Errorf("%s holds rows of a refused file: %s", name, b)
		}
	}
}
