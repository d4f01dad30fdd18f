package link

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Texts of platforms are shown to people and written to logs. What could change
// how the text around them reads, or carry a number, is taken out or refused.

// misleading reports a character that prints nothing of its own: control,
// bidirectional and other format characters, line and paragraph separators.
func misleading(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// plain reports whether s has at most limit characters and none is misleading.
func plain(s string, limit int) bool {
	return utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, misleading)
}

func printableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// A number may be written in one piece, in any digits, or like 138 0013 8000.
var (
	digitRun     = regexp.MustCompile(`\p{Nd}{7,}`)
	spacedMobile = regexp.MustCompile(`1[3-9]\d[ -]\d{4}[ -]?\d{4}`)
)

// clean makes a text harmless: misleading characters are dropped (line breaks
// and tabs become spaces), runs of 7 or more digits masked, and the rest is cut
// at limit characters.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case misleading(r):
			return -1
		}
		return r
	}, s)
	s = spacedMobile.ReplaceAllString(s, "*******")
	s = digitRun.ReplaceAllString(s, "*******")
	s = strings.TrimSpace(s)
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit])
	}
	return s
}

const maxURL = 512 // bytes

// pageURL reports whether s is an https page that may be shown as a link:
// absolute, ASCII, at most 512 bytes, with a host and no user.
func pageURL(s string) bool {
	if len(s) > maxURL || strings.Contains(s, " ") || !printableASCII(s) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}
