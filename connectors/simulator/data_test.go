package simulator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/simulator"
)

func TestUnbindRemovesOnlyWhatTheOrderCovers(t *testing.T) {
	d := open(t, t.TempDir())
	importAccounts(t, d, twoAccounts+"shop,13800000002,,2020-01-02,\nbank,13800000001,,2020-01-02,\n", 4)
	all := slices.Concat(refs(d.Accounts("shop", numberA)), refs(d.Accounts("shop", numberB)), refs(d.Accounts("bank", numberA)))

	e, err := d.Unbind("shop", sdk.Order{ID: "o-1", PhoneNumber: numberA, AccountRefs: all, BoundBefore: holderSince(), Attempt: 3})
	if err != nil || e.Removed != 1 || e.Attempt != 3 || !slices.Equal(e.AccountRefs, all[:1]) {
		t.Fatalf("effect = %+v, %v", e, err)
	}
	for _, left := range []struct {
		platform, number string
		want             int
	}{{"shop", numberA, 1}, {"shop", numberB, 1}, {"bank", numberA, 1}} {
		if got := len(d.Accounts(left.platform, left.number)); got != left.want {
			t.Errorf("%s %s: %d accounts left, want %d", left.platform, left.number, got, left.want)
		}
	}
	e, err = d.Unbind("shop", sdk.Order{ID: "o-2", PhoneNumber: numberA, AccountRefs: []string{"other"}})
	if err != nil || e.Removed != 0 || len(d.Accounts("shop", numberA)) != 1 {
		t.Errorf("an order that names another account: %+v, %v", e, err)
	}
	e, err = d.Unbind("shop", sdk.Order{ID: "o-3", PhoneNumber: numberA, AccountRefs: all})
	if err != nil || e.Removed != 1 {
		t.Errorf("an order without bound_before: %+v, %v", e, err)
	}
}

func TestOneEffectAcrossReopeningAndATornLine(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	importAccounts(t, d, twoAccounts, 2)
	before := refs(d.Accounts("shop", numberA))
	o := sdk.Order{ID: "o-1", PhoneNumber: numberA, AccountRefs: before[:1], Attempt: 1}
	if _, err := d.Unbind("shop", o); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		d.Close()
		path := filepath.Join(dir, "effects.ndjson")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"order_id":"o-2","platform_id":"sh`); err != nil {
			t.Fatal(err)
		}
		f.Close()
		d = open(t, dir)
		o.Attempt = round + 2
		o.AccountRefs = before
		e, err := d.Unbind("shop", o)
		if err != nil || e.Removed != 1 || e.Attempt != 1 {
			t.Fatalf("repeat = %+v, %v; want the first effect", e, err)
		}
		if got := refs(d.Accounts("shop", numberA)); !slices.Equal(got, before[1:]) {
			t.Fatalf("refs after reopening = %v, want %v", got, before[1:])
		}
		importAccounts(t, d, twoAccounts, 0)
	}
	if got := effectLines(t, dir); len(got) != 1 || got[0].OrderID != "o-1" || got[0].Removed != 1 {
		t.Errorf("effects = %+v", got)
	}
}

func TestRefsAreOpaqueAndDifferPerFolder(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		d := open(t, t.TempDir())
		importAccounts(t, d, twoAccounts, 2)
		for _, r := range refs(d.Accounts("shop", numberA)) {
			if seen[r] || len(r) > 64 || strings.Contains(r, "13800000001") {
				t.Errorf("ref %q", r)
			}
			seen[r] = true
		}
	}
}

func TestFolderWithRowsButNoSaltIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	importAccounts(t, d, twoAccounts, 2)
	d.Close()
	if err := os.Remove(filepath.Join(dir, "salt")); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.OpenData(dir); err == nil {
		t.Error("opened; removed rows would return")
	}
}

func TestImportDialects(t *testing.T) {
	for name, csv := range map[string]string{
		"BOM and CRLF":  "\ufeffplatform_id,phone_number,product,bound_at,id_suffix\r\nshop,13800000001,商城,2020-01-02,\r\n",
		"other order":   "id_suffix,bound_at,product,phone_number,platform_id\n,2020-01-02,商城,13800000001,shop\n",
		"quotes":        "\"platform_id\",phone_number,product,bound_at,id_suffix\nshop,\"13800000001\",\"商城\",2020-01-02T00:00:00+08:00,\n",
		"spaces, blank": accountsHeader + "\nshop , +8613800000001,商城 ,2020-01-01T16:00:00Z,\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, t.TempDir())
			importAccounts(t, d, csv, 1)
			got := d.Accounts("shop", numberA)
			if len(got) != 1 || got[0].Product != "商城" || !got[0].BoundAt.Equal(time.Date(2020, 1, 1, 16, 0, 0, 0, time.UTC)) {
				t.Errorf("accounts = %+v", got)
			}
		})
	}
}

func TestImportTakesOnlyNewRows(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	row := "shop,13800000001,商城,2020-01-02,\n"
	importAccounts(t, d, accountsHeader+row+row, 2)
	importAccounts(t, d, accountsHeader+row, 0)
	d.Close()
	d = open(t, dir)
	importAccounts(t, d, accountsHeader+row+row+row+"bank,13800000002,,2020-01-02,\n", 2)
	if got := len(d.Accounts("shop", numberA)); got != 3 {
		t.Errorf("%d accounts, want 3", got)
	}
	if got := d.PlatformIDs(); !slices.Equal(got, []string{"bank", "shop"}) {
		t.Errorf("platforms = %v", got)
	}
}

func TestInterruptedImportIsCompleted(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	var csv strings.Builder
	csv.WriteString(accountsHeader)
	for i := range 100 {
		fmt.Fprintf(&csv, "shop,138%08d,,2020-01-02,\n", i%50) // every row twice
	}
	importAccounts(t, d, csv.String(), 100)
	d.Close()
	path := filepath.Join(dir, "accounts.ndjson")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2+7); err != nil { // in the middle of a line
		t.Fatal(err)
	}
	d = open(t, dir)
	n, err := d.ImportAccounts(strings.NewReader(csv.String()), checks())
	if err != nil || n < 40 || n > 60 {
		t.Fatalf("imported %d, %v; want the missing half", n, err)
	}
	for i := range 50 {
		if got := len(d.Accounts("shop", fmt.Sprintf("+86138%08d", i))); got != 2 {
			t.Errorf("number %d has %d accounts, want 2", i, got)
		}
	}
}

func TestBadFilesWriteNothingAndNameTheLine(t *testing.T) {
	const good, canary = "shop,13800000001,商城,2020-01-02,\n", "7741339977"
	for name, tc := range map[string]struct{ csv, want string }{
		"empty":         {"", "line 1: want a header"},
		"no header":     {"shop," + canary + ",商城,2020-01-02,\n", "line 1: want a header"},
		"extra column":  {"x," + accountsHeader, "line 1: want a header"},
		"column twice":  {"shop,shop,phone_number,product,bound_at\n", "line 1: want a header"},
		"few fields":    {accountsHeader + good + "shop," + canary + "\n", "line 3: has 2 fields, want 5"},
		"quote":         {accountsHeader + good + "shop,\"" + canary + "\"x,,2020-01-02,\n", "line 3: not CSV"},
		"platform":      {accountsHeader + good + "Shop" + canary + ",13800000001,,2020-01-02,\n", "line 3: platform_id"},
		"long platform": {accountsHeader + strings.Repeat("a", 65) + ",13800000001,,2020-01-02,\n", "line 2: platform_id"},
		"number":        {accountsHeader + good + good + "shop," + canary + ",,2020-01-02,\n", "line 4: phone_number"},
		"product":       {accountsHeader + "shop,13800000001," + strings.Repeat("长", 65) + ",2020-01-02,\n", "line 2: product"},
		"not UTF-8":     {accountsHeader + "shop,13800000001," + canary + "\xff,2020-01-02,\n", "line 2: product"},
		"time":          {accountsHeader + "\n\nshop,13800000001,," + canary + ",\n", "line 4: bound_at"},
		"no time":       {accountsHeader + "shop,13800000001,,,\n", "line 2: bound_at"},
		"suffix":        {accountsHeader + "shop,13800000001,\"a\",2020-01-02,\n" + "shop,13800000001,,2020-01-02," + canary + "\n", "line 3: id_suffix"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir)
			_, err := d.ImportAccounts(strings.NewReader(tc.csv), checks())
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("err = %v, want %q", err, tc.want)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "accounts.ndjson")); err != nil || len(b) != 0 || len(d.PlatformIDs()) != 0 {
				t.Errorf("something was written: %d bytes, %v", len(b), err)
			}
		})
	}
	d := open(t, t.TempDir())
	for csv, want := range map[string]string{
		holdersHeader + "13800000001,,2020-01-02\n":                     "line 2: id_suffix",
		holdersHeader + "13800000001,011234,2020-13-02\n":               "line 2: holder_since",
		holdersHeader + "13800000001,011234,2020-01-02\n7741,011234,\n": "line 3: phone_number",
	} {
		if _, err := d.ImportHolders(strings.NewReader(csv), checks()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

func BenchmarkImport100k(b *testing.B) {
	var csv strings.Builder
	csv.WriteString(accountsHeader)
	for i := range 100_000 {
		fmt.Fprintf(&csv, "p-%d,138%08d,商城,2020-01-02T03:04:05+08:00,01123X\n", i%32, i)
	}
	for b.Loop() {
		dir := b.TempDir()
		d, err := simulator.OpenData(dir)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := d.ImportAccounts(strings.NewReader(csv.String()), checks()); n != 100_000 || err != nil {
			b.Fatal(n, err)
		}
		d.Close()
		if d, err = simulator.OpenData(dir); err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
}
