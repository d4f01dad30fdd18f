package platform

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Texts of platforms are shown to people and written to logs, whichever way they
// came. What could change how the text around them reads, or carry a number, is
// taken out or refused.

// misleading reports a character that prints nothing of its own: control,
// bidirectional and other format characters, line and paragraph separators.
func misleading(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// IsPlainText reports whether s has at most limit characters and none of them
// misleads.
func IsPlainText(s string, limit int) bool {
	return utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, misleading)
}

// Harmless puts a mark in the place of every character that misleads: the rest of
// the text stays as it is.
func Harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if misleading(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// IsPrintableASCII reports whether s is of printable ASCII alone, spaces
// included.
func IsPrintableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// IsFormula reports whether a spreadsheet would take s for a formula: lists of
// platforms are exported for spreadsheets.
func IsFormula(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return s != "" && strings.ContainsRune("=+-@＝＋－＠", first)
}

// A number may be written in one piece, in any digits, or like 138 0013 8000.
var (
	digitRun     = regexp.MustCompile(`\p{Nd}{7,}`)
	spacedMobile = regexp.MustCompile(`1[3-9]\d[ -]\d{4}[ -]?\d{4}`)
)

// HoldsNumber reports whether s holds what may be a phone or document number.
func HoldsNumber(s string) bool { return digitRun.MatchString(s) || spacedMobile.MatchString(s) }

// MaxRefusalText is how many characters of a refusal's text are kept.
const MaxRefusalText = 200

// CleanText makes a text harmless: misleading characters are dropped (line
// breaks and tabs become spaces), numbers masked, and the rest is cut at limit
// characters.
func CleanText(s string, limit int) string {
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

// IsPageURL reports whether s is an https page that may be shown as a link:
// absolute, ASCII, at most 512 bytes, with a host and no user.
func IsPageURL(s string) bool {
	if len(s) > maxURL || strings.Contains(s, " ") || !IsPrintableASCII(s) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

const maxAddress = 255 // bytes

// IsAddress reports whether s is HOST:PORT with a host and a port from 1 to
// 65535.
func IsAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > maxAddress || !IsPrintableASCII(s) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
