package coverage_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	heading = "platform_id,name_zh,name_en,category,weight,obliged_since,source\n"
	mall    = "mall,商城,\"Mall, Inc.\",网上购物,12.5,2026-10-01,https://miit.example/t20261001_12345678.html\n"
	maps    = "maps,地图,,地图导航,,,\n"
)

func listed() []platform.Entry {
	return []platform.Entry{
		{ID: "mall", DisplayName: "商城", Category: "网上购物", Listing: platform.Listing{
			NameEN: "Mall, Inc.", WeightMilli: 12500, ObligedSince: time.Date(2026, 9, 30, 16, 0, 0, 0, time.UTC), Source: "https://miit.example/t20261001_12345678.html",
		}},
		{ID: "maps", DisplayName: "地图", Category: "地图导航"},
	}
}

func TestParseFile(t *testing.T) {
	for name, file := range map[string]string{
		"plain":           heading + mall + maps,
		"byte order mark": "\ufeff" + heading + mall + maps,
		"CRLF":            strings.ReplaceAll(heading+mall+maps, "\n", "\r\n"),
		"no last newline": heading + maps + strings.TrimSuffix(mall, "\n"),
		"empty rows":      heading + "\n,,,,,,\n" + mall + ",,,,,,\n" + maps + "\n\n",
		"Excel's dates":   heading + strings.ReplaceAll(mall, "2026-10-01", "2026/10/1") + maps,
		"longer numbers":  heading + strings.ReplaceAll(mall, "12.5,", "12.500,") + maps,
		"other order": "source,weight,obliged_since,category,name_en,name_zh,platform_id\n,,,地图导航,,地图,maps\n" +
			"https://miit.example/t20261001_12345678.html,012.5,2026/10/01,网上购物,\"Mall, Inc.\",商城,mall\n",
	} {
		got, err := coverage.ParseFile([]byte(file))
		if err != nil || !reflect.DeepEqual(got, listed()) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	out, err := coverage.FormatFile(listed())
	if err != nil || string(out) != heading+mall+maps {
		t.Errorf("written: %s %v", out, err)
	}
}

// TestBadFiles: every fault has its line and column, and nothing of the file is
// repeated.
func TestBadFiles(t *testing.T) {
	row := func(cells ...string) string { return heading + maps + strings.Join(cells, ",") + "\n" }
	with := func(i int, cell string) string {
		cells := []string{"mall", "商城", "Mall", "网上购物", "12.5", "2026-10-01", "通知"}
		cells[i] = cell
		return row(cells...)
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":                {"", "the file is empty"},
		"heading alone":        {heading + ",,,,,,\n", "no platform"},
		"mark alone":           {"\ufeff", "the file is empty"},
		"GBK":                  {"platform_id,name_zh\n\xb5\xd8", "not UTF-8"},
		"UTF-16":               {"\xff\xfep\x00l\x00", "not UTF-8"},
		"too large":            {strings.Repeat("x", coverage.MaxFileBytes+1), "larger than 2 MiB"},
		"accounts instead":     {"platform_id,phone_number\nshop,13800138000\n", "line 1: column 2 is none of platform_id"},
		"column missing":       {"platform_id,name_zh,name_en,category,weight,obliged_since\n", "line 1, source: the column is missing"},
		"column twice":         {"platform_id,weight,name_zh,name_en,category,weight,obliged_since,source\n", "line 1, weight: the column is there twice"},
		"column of another":    {strings.TrimSuffix(heading, "\n") + ",note\n", "line 1: column 8 is none of"},
		"upper case":           {strings.ToUpper(heading), "line 1: column 1 is none of"},
		"semicolons":           {strings.ReplaceAll(heading, ",", ";"), "line 1: column 1 is none of"},
		"quotation mark":       {heading + "mall,\"商城,,,,,\n", "quotation marks"},
		"quotation in a cell":  {heading + maps + "mall,商\"城,,,,,\n", "line 3: the quotation marks"},
		"a cell too few":       {row("mall", "商城"), "line 3: the line has 2 cells, the heading 7"},
		"a cell too many":      {row("mall", "商城", "", "网上购物", "", "", "", ""), "line 3: the line has 8 cells"},
		"bad id":               {with(0, "Mall"), "line 3, platform_id: an id is"},
		"no id":                {with(0, ""), "line 3, platform_id: an id is"},
		"same id":              {with(0, "maps"), "line 3, platform_id: the id of line 2 again"},
		"no name":              {with(1, ""), "line 3, name_zh: every platform needs a name"},
		"long name":            {with(1, strings.Repeat("长", 65)), "line 3, name_zh: at most 64 characters"},
		"right to left":        {with(1, "商\u202e城"), "line 3, name_zh: at most 64"},
		"zero width":           {with(2, "Ma\u200bll"), "line 3, name_en: at most 64"},
		"NUL":                  {with(2, "Ma\x00ll"), "line 3, name_en: at most 64"},
		"line break":           {with(6, "\"a\nb\""), "line 3, source: at most 300"},
		"formula":              {with(1, "=1+1"), "line 3, name_zh: begins like a formula"},
		"formula, full width":  {with(6, "＝1"), "line 3, source: begins like a formula"},
		"formula, at":          {with(6, "@x"), "line 3, source: begins like a formula"},
		"space":                {with(2, " Mall"), "line 3, name_en: a space"},
		"no category":          {with(3, ""), "line 3, category: not one of the 39"},
		"another category":     {with(3, "购物"), "line 3, category: not one of the 39"},
		"negative":             {with(4, "-1"), "line 3, weight: not a number above 0"},
		"zero":                 {with(4, "0"), "line 3, weight: not a number above 0"},
		"zero, long":           {with(4, "0.000"), "line 3, weight: not a number above 0"},
		"not a number":         {with(4, "NaN"), "line 3, weight: not a number above 0"},
		"infinite":             {with(4, "Inf"), "line 3, weight: not a number above 0"},
		"exponent":             {with(4, "1e3"), "line 3, weight: not a number above 0"},
		"hexadecimal":          {with(4, "0x1"), "line 3, weight: not a number above 0"},
		"huge":                 {with(4, "1000000.001"), "line 3, weight: not a number above 0"},
		"huger":                {with(4, strings.Repeat("9", 400)), "line 3, weight: not a number above 0"},
		"many decimals":        {with(4, "1.0001"), "line 3, weight: not a number above 0"},
		"no digits":            {with(4, "."), "line 3, weight: not a number above 0"},
		"thousands":            {with(4, "\"1,200\""), "line 3, weight: not a number above 0"},
		"full-width digits":    {with(4, "１２"), "line 3, weight: not a number above 0"},
		"obliged, no weight":   {with(4, ""), "line 3, weight: a platform that is obliged to join needs a weight"},
		"no such day":          {with(5, "2026-02-30"), "line 3, obliged_since: not a day"},
		"another form":         {with(5, "10/1/2026"), "line 3, obliged_since: not a day"},
		"a time":               {with(5, "2026-10-01T00:00:00Z"), "line 3, obliged_since: not a day"},
		"Excel's day number":   {with(5, "46296"), "line 3, obliged_since: not a day"},
		"Excel's day, no such": {with(5, "2026/13/1"), "line 3, obliged_since: not a day"},
		"long source":          {with(6, strings.Repeat("文", 301)), "line 3, source: at most 300"},
	} {
		got, err := coverage.ParseFile([]byte(c.file))
		var bad *coverage.FileError
		if !errors.As(err, &bad) || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
			continue
		}
		if len(bad.Problems) != 1 && name != "accounts instead" && name != "upper case" && name != "semicolons" {
			t.Errorf("%s: more than one problem: %v", name, err)
		}
		if strings.Contains(err.Error(), "13800138000") || strings.Contains(err.Error(), "phone_number") {
			t.Errorf("%s: repeats the file: %v", name, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := coverage.ParseFile([]byte(heading + "A,,,x,-1,never,=\n" + maps + maps))
	var bad *coverage.FileError
	if !errors.As(err, &bad) || len(bad.Problems) != 7 || bad.More || bad.Problems[6].Line != 4 {
		t.Errorf("%v", err)
	}
	_, err = coverage.ParseFile([]byte(heading + strings.Repeat("A,,,x,-1,never,=\n", 1000)))
	if !errors.As(err, &bad) || len(bad.Problems) != 50 || !bad.More || !strings.HasSuffix(err.Error(), "\nand more") {
		t.Errorf("%d problems", len(bad.Problems))
	}
	var long strings.Builder
	long.WriteString(heading)
	for i := range coverage.MaxFileRows + 1 {
		if i == coverage.MaxFileRows {
			if rows, err := coverage.ParseFile([]byte(long.String())); err != nil || len(rows) != coverage.MaxFileRows {
				t.Errorf("the most rows: %v", err)
			}
		}
		fmt.Fprintf(&long, "p%d,名,,网上购物,,,\n", i)
	}
	if _, err = coverage.ParseFile([]byte(long.String())); err == nil || !strings.Contains(err.Error(), "more than 10,000 rows") {
		t.Errorf("%v", err)
	}
}

// FuzzParseFile: what is taken can be written, and reads as the same again.
func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{heading + mall + maps, "\ufeff" + heading + mall, heading + "mall,\"商\"\"城\",,网上购物,0.001,2026/1/2,x\r\n", "", heading + "\"", "a,b\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, err := coverage.ParseFile(file)
		var bad *coverage.FileError
		if err != nil {
			if !errors.As(err, &bad) || len(bad.Problems) == 0 || len(bad.Problems) > 50 || rows != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		out, err := coverage.FormatFile(rows)
		if err != nil {
			t.Fatal(err)
		}
		again, err := coverage.ParseFile(out)
		if err != nil || !reflect.DeepEqual(again, rows) {
			t.Fatalf("%q\nreads as %+v\nnot %+v: %v", out, again, rows, err)
		}
		if twice, _ := coverage.FormatFile(again); !bytes.Equal(twice, out) {
			t.Fatalf("%q and %q", out, twice)
		}
		for _, e := range rows {
			if e.WeightMilli < 0 || !e.ObligedSince.IsZero() && e.WeightMilli == 0 || !platform.IsPlainText(e.DisplayName, 64) {
				t.Fatalf("%+v", e)
			}
		}
	})
}

func TestCompare(t *testing.T) {
	have := listed()
	have[0].Address, have[0].Suspended, have[0].SuspendReason, have[0].Functions = "h:1", true, "演练", 3
	have = append(have, platform.Entry{ID: "old", DisplayName: "旧", Category: "网上购物"}, platform.Entry{ID: "stays", Address: "h:2"})
	file := listed()
	file[0].WeightMilli, file[0].DisplayName = 20000, "新商城"
	file = append(file, platform.Entry{ID: "new", DisplayName: "新", Category: "网上购物"})
	changes, unchanged := coverage.Compare(have, file, false)
	var kinds []string
	for _, c := range changes {
		kinds = append(kinds, fmt.Sprint(c.ID, " ", c.Kind, " ", c.Joined))
	}
	if unchanged != 1 || !reflect.DeepEqual(kinds, []string{"mall CHANGED true", "new ADDED false", "old MISSING false", "stays MISSING true"}) {
		t.Fatalf("%d the same, %v", unchanged, kinds)
	}
	if want := []coverage.FieldChange{{Column: "name_zh", Before: "商城", After: "新商城"}, {Column: "weight", Before: "12.5", After: "20"}}; !reflect.DeepEqual(changes[0].Fields, want) {
		t.Errorf("%+v", changes[0].Fields)
	}
	want := have[0]
	want.DisplayName, want.WeightMilli = "新商城", 20000
	if !reflect.DeepEqual(changes[0].Entry, want) {
		t.Errorf("an import changes more than the file says: %+v", changes[0].Entry)
	}
	removed, _ := coverage.Compare(have, file, true)
	if removed[2].Kind != coverage.Removed || removed[3].Kind != coverage.Missing {
		t.Errorf("%+v", removed)
	}
	if same, n := coverage.Compare(have, have, true); len(same) != 0 || n != 4 {
		t.Errorf("%v", same)
	}
}
