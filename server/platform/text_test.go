package platform_test

import (
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/platform"
)

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		" 余额不足 ":                              "余额不足",
		"a\u202eb\u2066c\u200ed\u061ce":       "abcde",
		"a\x00b\x1b[31mc\x7f\u0085":           "ab[31mc",
		"zero\u200bwidth\ufeff":               "zerowidth",
		"line\r\nline\u2028x":                 "line  line x",
		"138\u200b0013\u200b8000":             "*******",
		"+8613800138000.":                     "+*******.",
		"１３８００１３８０００":                         "*******",
		"138 0013 8000":                       "*******",
		"138-0013-8000":                       "*******",
		"123456 2026-10-19":                   "123456 2026-10-19",
		"1234567":                             "*******",
		strings.Repeat("长", 19) + "12345678":  strings.Repeat("长", 19) + "*",
		strings.Repeat("长", 30):               strings.Repeat("长", 20),
		"<script>" + strings.Repeat("x", 100): "<script>" + strings.Repeat("x", 12),
	} {
		if got := platform.CleanText(in, 20); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestIsPageURL(t *testing.T) {
	for _, good := range []string{"https://a.example", "https://a.example:8443/x?y=%E4%BD%A0#z", "https://[::1]/"} {
		if !platform.IsPageURL(good) {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{
		"", "https://", "https:a.example", "HTTP://a.example", "ftp://a.example", "data:text/html,x", "https://u@a.example", "https://a.example/你",
		"https://a.example/\t", "https://a.example/%", "https://:443/", "https://" + strings.Repeat("a", 505),
	} {
		if platform.IsPageURL(bad) {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestIsAddress(t *testing.T) {
	for _, good := range []string{"127.0.0.1:9443", "[::1]:1", "shop.example:65535"} {
		if !platform.IsAddress(good) {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{"", "shop", ":9443", "shop:", "shop:0", "shop:65536", "shop:https", "shop:+80", "a:b:80", "sh\x00op:80", strings.Repeat("a", 300) + ":80"} {
		if platform.IsAddress(bad) {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPlainTextAndNumbers(t *testing.T) {
	for text, want := range map[string][2]bool{
		"余额不足":               {true, false},
		"两\n行":               {false, false},
		"a\u202eb":           {false, false},
		"a\u200bb":           {false, false},
		"bad \xff":           {false, false},
		"请致电 13800138000":    {true, true},
		"１３８００１３８０００":        {true, true},
		"138 0013 8000":      {true, true},
		"123456":             {true, false},
		"0123456789 is long": {true, true},
	} {
		if got := platform.IsPlainText(text, 20); got != want[0] {
			t.Errorf("%q: plain is %v", text, got)
		}
		if got := platform.HoldsNumber(text); got != want[1] {
			t.Errorf("%q: holds a number is %v", text, got)
		}
	}
	if platform.IsPlainText(strings.Repeat("长", 21), 20) {
		t.Error("a text over the limit was taken")
	}
}
