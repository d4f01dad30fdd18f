package verify_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/verify"
)

func TestParseCode(t *testing.T) {
	for in, want := range map[string]string{
		"123456":                           "123456",
		"000000":                           "000000",
		" 123 456 ":                        "123456",
		"１２３４５６":                           "123456",
		"１2３　4５6":                          "123456",
		"":                                 "",
		"12345":                            "",
		"1234567":                          "",
		"12345a":                           "",
		"123456\r\n":                       "",
		"12\x003456":                       "",
		"-12345":                           "",
		"+12345":                           "",
		"123.456":                          "",
		"١٢٣٤٥٦":                           "", // digits, but not of a code
		"12345\xff":                        "",
		"   \u3000":                        "",
		"1e4567":                           "",
		"0x1234":                           "",
		strings.Repeat(" ", 70) + "123456": "",
	} {
		got, err := verify.ParseCode(in)
		if got.Reveal() != want || (err == nil) != (want != "") {
			t.Errorf("ParseCode(%q) = %q, %v; want %q", in, got.Reveal(), err, want)
		}
		if err != nil && (!errors.Is(err, fault.CodeInvalid) || len(in) > 3 && strings.Contains(err.Error(), in)) {
			t.Errorf("ParseCode(%q): %v", in, err)
		}
	}
}

func FuzzParseCode(f *testing.F) {
	for _, s := range []string{"123456", "１２３４５６", " 1 2 3 4 5 6", "12345", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := verify.ParseCode(s)
		if err != nil {
			if c.Reveal() != "" {
				t.Errorf("ParseCode(%q) gave a code and an error", s)
			}
			return
		}
		if len(c.Reveal()) != verify.CodeLength || strings.Trim(c.Reveal(), "0123456789") != "" {
			t.Errorf("ParseCode(%q) = %q", s, c.Reveal())
		}
		if again, err := verify.ParseCode(c.Reveal()); err != nil || again != c {
			t.Errorf("ParseCode(%q) = %q, %v", c.Reveal(), again.Reveal(), err)
		}
	})
}

// TestRedaction puts a code and a token through every printer.
func TestRedaction(t *testing.T) {
	code, err := verify.ParseCode("918273")
	if err != nil {
		t.Fatal(err)
	}
	token := verify.NewToken()
	for _, v := range []any{code, &code, token, &token, verify.Opened{Token: token}, []verify.Code{code}, map[string]verify.Token{"t": token}} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%08.3f", "%t", "%c", "%U", "% x", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v, fmt.Errorf("bad: %v", v))
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		for _, secret := range []string{code.Reveal(), token.Reveal()} {
			for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(strings.ToLower(out.String()), strings.ToLower(form)) {
					t.Errorf("%T prints its secret:\n%s", v, out.String())
				}
			}
		}
		if !strings.Contains(out.String(), "******") {
			t.Errorf("%T prints no mask:\n%s", v, out.String())
		}
	}
}

func TestTokens(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		s := verify.NewToken().Reveal()
		if b, err := base64.RawURLEncoding.DecodeString(s); err != nil || len(b) != 32 || seen[s] {
			t.Fatalf("token of %d bytes, %v, seen %v", len(b), err, seen[s])
		}
		seen[s] = true
	}
}

// TestLogHoldsNoSecret: what the service itself logs names nobody.
func TestLogHoldsNoSecret(t *testing.T) {
	c := &carrier{since: since}
	atDesk(t, c, func(d *desk) {
		id, code := d.ask("01123X")
		token := d.confirm(id, code).Token
		c.err = errors.New("down")
		s, err := d.service.Session(d.Context(), token)
		d.check(err)
		d.check(d.service.StillHolder(d.Context(), s))
		d.sendErr = errors.New("gateway down")
		_, err = d.service.Create(d.Context(), d.request("13800130003", "311114"))
		if !errors.Is(err, fault.SMSUnavailable) {
			d.Errorf("sender down: %v", err)
		}
		if d.log.Len() == 0 {
			d.Fatal("nothing was logged")
		}
		for _, secret := range []string{"13800130001", "13800130003", "01123X", "311114", code.Reveal(), token.Reveal()} {
			if bytes.Contains(d.log.Bytes(), []byte(secret)) {
				d.Errorf("the log holds %q:\n%s", secret, d.log.String())
			}
		}
	})
}
