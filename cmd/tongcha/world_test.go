package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// world is a made-up set of accounts and holders, and the test's own notion of
// what a hub has to make of them.
type world struct {
	rnd      *rand.Rand
	numbers  []string // 11 digits
	accounts []worldAccount
	holders  []worldHolder
}

type worldAccount struct {
	platform, number string
	boundAt          time.Time
	gone             bool
}

type worldHolder struct {
	number, suffix string
	since          time.Time
}

// The platforms of every world: three new ones, and one that is there anyway.
var worldPlatforms = []string{"mall", "news.app", "a_b-1", "sim-sync"}

var shanghai = time.FixedZone("CST", 8*60*60)

// newWorld makes numbers of every kind, by their place modulo 6: with one
// holder, with several, with one more to come, with none at all, with none but
// one to come, with one holder and no account.
func newWorld(seed uint64, numbers int) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 0))}
	for i := range numbers {
		number := fmt.Sprintf("1%s%05d%03d", []string{"38", "59", "86", "77", "99"}[w.rnd.IntN(5)], w.rnd.IntN(100_000), i)
		w.numbers = append(w.numbers, number)
		w.addHolders(number, i%6)
		if i%6 == 5 {
			continue
		}
		for _, platform := range worldPlatforms {
			w.addAccounts(platform, number, w.rnd.IntN(5))
		}
	}
	return w
}

func (w *world) addHolders(number string, kind int) {
	past := func() time.Time { return time.Unix(w.rnd.Int64N(1_700_000_000-1_400_000_000)+1_400_000_000, 0) }
	future := time.Date(2090, 1, 1, 0, 0, 0, 0, shanghai)
	var since []time.Time
	switch kind {
	case 0, 5:
		since = []time.Time{past()}
	case 1:
		since = []time.Time{past(), past(), past()}
	case 2:
		since = []time.Time{past(), future, past()}
	case 4:
		since = []time.Time{future}
	}
	for _, s := range since {
		suffix := fmt.Sprintf("%02d%03d%s", 1+w.rnd.IntN(28), w.rnd.IntN(1000), string("0123456789X"[w.rnd.IntN(11)]))
		w.holders = append(w.holders, worldHolder{number, suffix, s})
	}
}

// addAccounts adds n accounts, now and then bound in the very second in which
// the holder got the number, or equal to the one before.
func (w *world) addAccounts(platform, number string, n int) {
	for range n {
		at := time.Unix(w.rnd.Int64N(1_750_000_000-1_350_000_000)+1_350_000_000, 0)
		if h, held := w.holder(number); held && w.rnd.IntN(4) == 0 {
			at = h.since
		}
		a := worldAccount{platform: platform, number: number, boundAt: at}
		w.accounts = append(w.accounts, a)
		if w.rnd.IntN(6) == 0 {
			w.accounts = append(w.accounts, a)
		}
	}
}

// holder is who has the number now.
func (w *world) holder(number string) (worldHolder, bool) {
	var now worldHolder
	for _, h := range w.holders {
		if h.number == number && h.since.Before(time.Now()) && h.since.After(now.since) {
			now = h
		}
	}
	return now, now.number != ""
}

// suffix is the present holder's; where there is none, any will do.
func (w *world) suffix(number string) string {
	if h, held := w.holder(number); held {
		return h.suffix
	}
	return "010000"
}

// row is what a lookup has to show of a number at a platform, and all is how
// many accounts there are.
func (w *world) row(platform, number string) (s split, all int) {
	h, held := w.holder(number)
	for _, a := range w.accounts {
		switch {
		case a.platform != platform || a.number != number || a.gone:
			continue
		case held && a.boundAt.Before(h.since):
			s.before++
		case held:
			s.since++
		}
		all++
	}
	return s, all
}

// unbind does what an order has to do.
func (w *world) unbind(platform, number string) {
	h, _ := w.holder(number)
	for i, a := range w.accounts {
		if a.platform == platform && a.number == number && a.boundAt.Before(h.since) {
			w.accounts[i].gone = true
		}
	}
}

// files writes the two CSV files as people make them: rows and columns in any
// order, numbers and times in many forms, a byte order mark, CRLF.
func (w *world) files(t *testing.T) []string {
	t.Helper()
	accounts := [][]string{{"platform_id", "phone_number", "product", "bound_at", "id_suffix"}}
	for i, a := range w.accounts {
		accounts = append(accounts, []string{a.platform, w.form(a.number), []string{"账号", "", "a, \"quoted\" name"}[i%3], w.time(a.boundAt), []string{"", "01000x"}[i%2]})
	}
	holders := [][]string{{"phone_number", "id_suffix", "holder_since"}}
	for _, h := range w.holders {
		holders = append(holders, []string{w.form(h.number), strings.ToLower(h.suffix), w.time(h.since)})
	}
	dir := t.TempDir()
	for name, rows := range map[string][][]string{"accounts.csv": accounts, "holders.csv": holders} {
		if err := os.WriteFile(filepath.Join(dir, name), w.table(t, rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--accounts", filepath.Join(dir, "accounts.csv"), "--holders", filepath.Join(dir, "holders.csv")}
}

func (w *world) table(t *testing.T, rows [][]string) []byte {
	t.Helper()
	order := w.rnd.Perm(len(rows[0]))
	w.rnd.Shuffle(len(rows)-1, func(i, j int) { rows[i+1], rows[j+1] = rows[j+1], rows[i+1] })
	var b bytes.Buffer
	b.WriteString("\ufeff")
	out := csv.NewWriter(&b)
	out.UseCRLF = true
	for _, row := range rows {
		turned := make([]string, len(row))
		for i, from := range order {
			turned[i] = row[from]
		}
		if err := out.Write(turned); err != nil {
			t.Fatal(err)
		}
	}
	out.Flush()
	return b.Bytes()
}

// form writes a number as somebody might.
func (w *world) form(number string) string {
	switch w.rnd.IntN(6) {
	case 0:
		return "+86" + number
	case 1:
		return "0086 " + number
	case 2:
		return " +86 " + number[:3] + "-" + number[3:7] + "-" + number[7:]
	case 3:
		return strings.Map(func(r rune) rune { return r - '0' + '０' }, number)
	}
	return number
}

// time writes a time in one of the forms of RFC 3339, and midnight in Shanghai
// also as a date.
func (w *world) time(at time.Time) string {
	if local := at.In(shanghai); local.Hour() == 0 && local.Minute() == 0 && local.Second() == 0 {
		return local.Format(time.DateOnly)
	}
	zones := []*time.Location{time.UTC, shanghai, time.FixedZone("", -5*60*60)}
	return at.In(zones[w.rnd.IntN(len(zones))]).Format(time.RFC3339)
}
