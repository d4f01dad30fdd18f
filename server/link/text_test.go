package link

import (
	"strings"
	"testing"
	"time"
)

func TestClean(t *testing.T) {
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
		if got := clean(in, 20); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestPageURL(t *testing.T) {
	for _, good := range []string{"https://a.example", "https://a.example:8443/x?y=%E4%BD%A0#z", "https://[::1]/"} {
		if !pageURL(good) {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{
		"", "https://", "https:a.example", "HTTP://a.example", "ftp://a.example", "data:text/html,x", "https://u@a.example", "https://a.example/你",
		"https://a.example/\t", "https://a.example/%", "https://:443/", "https://" + strings.Repeat("a", 505),
	} {
		if pageURL(bad) {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAnswerWithin(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: 0, -5: 0, 100: 90, 1000: 900, 2500: 2400} {
		if got := answerWithin(in * time.Millisecond); got != want*time.Millisecond {
			t.Errorf("%d ms: %v", int64(in), got)
		}
	}
}
