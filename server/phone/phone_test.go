package phone_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
)

func TestParseNumber(t *testing.T) {
	const want = "+8613800138000"
	for _, in := range []string{
		"13800138000", "+8613800138000", "008613800138000", "8613800138000", "138 0013 8000", "138-0013-8000", " 13800138000 ",
		"+86 138 0013 8000", "+86-13800138000", "１３８００１３８０００", "＋８６１３８００１３８０００", "138　0013　8000", "138\u00a00013\u00a08000", "138－0013－8000",
	} {
		n, err := phone.ParseNumber(in)
		if err != nil || n.E164() != want || n.IsZero() {
			t.Errorf("ParseNumber(%q) = %q, %v", in, n.E164(), err)
		}
	}
}

func TestParseNumberRefuses(t *testing.T) {
	for class, in := range map[string]string{
		"empty":                  "",
		"spaces":                 "   ",
		"10 digits":              "1380013800",
		"12 digits":              "138001380001",
		"13 digits":              "1380013800012",
		"12xxxxxxxxx":            "12800138000",
		"10xxxxxxxxx":            "10086100861",
		"landline":               "01088886666",
		"landline, country code": "+861088886666",
		"premium":                "4008123123",
		"short number":           "10086",
		"Hong Kong":              "+85291234567",
		"Hong Kong, 00":          "0085291234567",
		"Macao":                  "+85366123456",
		"US":                     "+13800138000",
		"two prefixes":           "+868613800138000",
		"plus alone":             "+13800138000",
		"0086 and short":         "00861380013800",
		"IoT, 13 digits":         "1400012345678",
		"IoT, 13 digits, +86":    "+861441234567890",
		"CRLF":                   "13800138000\r\n",
		"header injection":       "13800138000\r\nX-A: b",
		"tab":                    "138\t00138000",
		"NUL":                    "138\x0000138000",
		"letter":                 "1380013800O",
		"float":                  "1.3800138e10",
		"Arabic digits":          "١٣٨٠٠١٣٨٠٠٠",
		"bad UTF-8":              "1380013800\xff",
		"zero-width":             "138\u200b00138000",
		"right-to-left":          "\u202e13800138000",
		"long":                   strings.Repeat(" ", 1<<20) + "13800138000",
		"negative":               "−13800138000",
		"plus in the middle":     "138+00138000",
	} {
		n, err := phone.ParseNumber(in)
		if !errors.Is(err, fault.PhoneInvalid) || !n.IsZero() {
			t.Errorf("%s: %q is taken: %v", class, in, err)
			continue
		}
		if fault.Of(err).Field != "phoneNumber" || strings.Contains(err.Error(), "1380") {
			t.Errorf("%s: %v", class, err)
		}
	}
}

func TestPlan(t *testing.T) {
	for in, want := range map[string]phone.Carrier{
		"13800138000": "mobile", "13000138000": "unicom", "13300138000": "telecom", "13400138000": "mobile", "13480138000": "mobile",
		"13490138000": "telecom", "19200138000": "broadnet", "17000138000": "virtual", "16200138000": "virtual", "17400138000": "telecom",
		"17405138000": "telecom", "15400138000": "",
	} {
		n, err := phone.ParseNumber(in)
		if err != nil || n.Segment() != want {
			t.Errorf("%s is of %q, %v; want %q", in, n.Segment(), err, want)
		}
	}
	for _, in := range []string{"17490138000", "17406138000", "17412138000", "14000138000", "14100138000", "14400138000", "14600138000", "14800138000"} {
		if _, err := phone.ParseNumber(in); !errors.Is(err, fault.PhoneInvalid) {
			t.Errorf("%s is taken: %v", in, err)
		}
	}
	if s := (phone.Number{}).Segment(); s != "" {
		t.Errorf("no number is of %q", s)
	}
}

func TestParseIDSuffix(t *testing.T) {
	for _, tt := range []struct {
		document phone.DocumentType
		in, want string
	}{
		{phone.ResidentID, "01123X", "01123X"},
		{phone.ResidentID, "01123x", "01123X"},
		{phone.ResidentID, "０１１２３ｘ", "01123X"},
		{phone.ResidentID, " 311114 ", "311114"},
		{phone.ResidentID, "29000X", "29000X"},
		{phone.ForeignResidentID, "150001", "150001"},
		{phone.Passport, "a12345", "A12345"},
		{phone.HKMacaoPermit, "123456", "123456"},
		{phone.TaiwanPermit, "000000", "000000"},
	} {
		s, err := phone.ParseIDSuffix(tt.document, tt.in)
		if err != nil || s.Reveal() != tt.want || s.Document() != tt.document {
			t.Errorf("ParseIDSuffix(%s, %q) = %q, %v", tt.document, tt.in, s.Reveal(), err)
		}
	}
	for _, bad := range []string{
		"", "01123", "01123XX", "001234", "321234", "991234", "01123Y", "X11234", "01 123", "11010519491231002X", "110105491231002", "01123X\r\n1",
		"01123\x00", "０１１２３\xff", "١١١١١١", strings.Repeat("1", 1<<20), "A12345", "-11234",
	} {
		s, err := phone.ParseIDSuffix(phone.ResidentID, bad)
		if !errors.Is(err, fault.IDSuffixInvalid) || !s.IsZero() || len(bad) > 3 && strings.Contains(err.Error(), bad) {
			t.Errorf("suffix %.20q is taken: %v", bad, err)
		}
	}
	if _, err := phone.ParseIDSuffix(phone.Passport, "A1234-"); !errors.Is(err, fault.IDSuffixInvalid) {
		t.Errorf("passport A1234-: %v", err)
	}
}

func TestParseDocumentType(t *testing.T) {
	for _, d := range []phone.DocumentType{phone.ResidentID, phone.Passport, phone.HKMacaoPermit, phone.TaiwanPermit, phone.ForeignResidentID} {
		if got, err := phone.ParseDocumentType(string(d)); err != nil || got != d {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	if got, err := phone.ParseDocumentType(""); err != nil || got != phone.ResidentID {
		t.Errorf("none: %s, %v", got, err)
	}
	for _, bad := range []string{"resident_id", "DRIVING_LICENCE", " PASSPORT"} {
		if got, err := phone.ParseDocumentType(bad); !errors.Is(err, fault.DocumentTypeInvalid) || got != "" {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func parse(t testing.TB) (phone.Number, phone.IDSuffix) {
	t.Helper()
	n, err := phone.ParseNumber("13845671234")
	if err != nil {
		t.Fatal(err)
	}
	s, err := phone.ParseIDSuffix(phone.Passport, "QZ7788")
	if err != nil {
		t.Fatal(err)
	}
	return n, s
}

// TestRedaction puts a number and a suffix through every printer.
func TestRedaction(t *testing.T) {
	n, s := parse(t)
	for _, tt := range []struct {
		v    any
		mask string
	}{
		{n, "138****1234"}, {&n, "138****1234"}, {[]phone.Number{n}, "138****1234"}, {map[phone.Number]int{n: 1}, "138****1234"},
		{struct{ N phone.Number }{n}, "138****1234"}, {s, "******"}, {&s, "******"}, {map[string]phone.IDSuffix{"s": s}, "******"},
		{struct{ S *phone.IDSuffix }{&s}, "******"},
	} {
		out := printed(t, tt.v)
		for _, secret := range []string{"13845671234", "8613845671234", "4567", "QZ7788"} {
			for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
					t.Errorf("%T prints %q:\n%s", tt.v, form, out)
				}
			}
		}
		if !strings.Contains(out, tt.mask) {
			t.Errorf("%T prints no %q:\n%s", tt.v, tt.mask, out)
		}
	}
}

func printed(t *testing.T, v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%e", "%t", "%c", "%U", "%20.3s"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	fmt.Fprintln(&out, v, fmt.Errorf("bad: %v", v), errors.Join(errors.New("a"), fmt.Errorf("%s", v)))
	fmt.Fprint(&out, fault.InternalError.Wrap(fmt.Errorf("of %v", v)))
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v, slog.Group("g", "v", v))
	return out.String()
}

func TestZeroNumber(t *testing.T) {
	var n phone.Number
	if n.E164() != "" || n.String() != "-" || !n.IsZero() {
		t.Errorf("no number is %q, %q", n.E164(), n.String())
	}
}

// mac tells which parts it was given.
type mac struct{}

func (mac) Sum(purpose string, parts ...[]byte) (d [32]byte) {
	copy(d[:], fmt.Sprintf("%.1s%d", purpose, len(parts)))
	for i, p := range parts {
		for j, b := range p {
			d[4+(i*7+j)%28] ^= b + byte(i)
		}
	}
	return d
}

func TestSubjects(t *testing.T) {
	n, s := parse(t)
	other, err := phone.ParseIDSuffix(phone.Passport, "QZ7789")
	if err != nil {
		t.Fatal(err)
	}
	permit, err := phone.ParseIDSuffix(phone.HKMacaoPermit, "QZ7788")
	if err != nil {
		t.Fatal(err)
	}
	again, err := phone.ParseNumber("+86 138-4567-1234")
	if err != nil {
		t.Fatal(err)
	}
	if phone.SubjectOf(mac{}, n, s) != phone.SubjectOf(mac{}, again, s) || phone.IndexOf(mac{}, n) != phone.IndexOf(mac{}, again) {
		t.Error("one number has two digests")
	}
	for _, x := range []phone.IDSuffix{other, permit} {
		if phone.SubjectOf(mac{}, n, s) == phone.SubjectOf(mac{}, n, x) {
			t.Error("two persons are one subject")
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"13800138000", "+86 138 0013 8000", "008613800138000", "１３８００１３８０００", "1400012345678", "+85291234567", "\xff", "86"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := phone.ParseNumber(s)
		if err != nil {
			if !errors.Is(err, fault.PhoneInvalid) || !n.IsZero() {
				t.Errorf("ParseNumber(%q) = %v, %v", s, n, err)
			}
			return
		}
		e := n.E164()
		if len(e) != 14 || e[:4] != "+861" || e[4] < '3' || strings.Trim(e[1:], "0123456789") != "" {
			t.Errorf("ParseNumber(%q) gave %q", s, e)
		}
		if again, err := phone.ParseNumber(e); err != nil || again != n {
			t.Errorf("%q does not read back: %v", e, err)
		}
	})
}

func FuzzParseIDSuffix(f *testing.F) {
	for _, s := range []string{"01123X", "０１１２３ｘ", "a12345", "001234", "ſ12345", "\xff"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, resident bool) {
		d := phone.Passport
		if resident {
			d = phone.ResidentID
		}
		x, err := phone.ParseIDSuffix(d, s)
		if err != nil {
			if !errors.Is(err, fault.IDSuffixInvalid) || !x.IsZero() {
				t.Errorf("ParseIDSuffix(%q) = %v, %v", s, x, err)
			}
			return
		}
		if len(x.Reveal()) != 6 || strings.Trim(x.Reveal(), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Errorf("ParseIDSuffix(%q) gave %q", s, x.Reveal())
		}
		if again, err := phone.ParseIDSuffix(d, x.Reveal()); err != nil || again != x {
			t.Errorf("%q does not read back: %v", x.Reveal(), err)
		}
	})
}
