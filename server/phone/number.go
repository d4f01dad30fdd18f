// Package phone holds the personal keys of the hub, a number and an ID suffix,
// as types that print themselves masked, and the keyed digests made of them.
package phone

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/tongcha/tongcha/server/fault"
)

// Number is a mainland China mobile number. It prints as 138****1234 through
// every printer of the standard library; only E164 reveals it. The zero Number
// is no number.
type Number struct{ national string }

// ParseNumber reads a number as people type it: spaces, '-', full-width digits
// and the prefixes +86, 0086 and 86 are understood. IoT numbers and the
// satellite ranges are refused. The error never repeats the input.
//
// Errors: fault.PhoneInvalid.
func ParseNumber(s string) (Number, error) {
	if len(s) > 64 {
		return Number{}, fault.PhoneInvalid.On("phoneNumber")
	}
	d := foldNumber(s)
	for _, prefix := range []string{"+86", "0086", "86"} {
		if len(d) == 11+len(prefix) && strings.HasPrefix(d, prefix) {
			d = d[len(prefix):]
			break
		}
	}
	if !isMobile(d) || refusedSegment(d) {
		return Number{}, fault.PhoneInvalid.On("phoneNumber")
	}
	return Number{national: d}, nil
}

// foldNumber drops spaces and hyphens between the digits and narrows full-width
// characters; anything else stays and makes the check fail.
func foldNumber(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == ' ' || r == '-' || r == '\u3000' || r == '\u00a0' || r == '\uff0d':
		case r >= '\uff10' && r <= '\uff19':
			b.WriteByte(byte('0' + r - '\uff10'))
		case r == '\uff0b':
			b.WriteByte('+')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isMobile(d string) bool {
	if len(d) != 11 || d[0] != '1' || d[1] < '3' {
		return false
	}
	for i := range len(d) {
		if d[i] < '0' || d[i] > '9' {
			return false
		}
	}
	return true
}

// E164 reveals the number, "+86" and 11 digits. Call it only where the number
// leaves for a carrier, a platform or a message, or goes under a seal.
func (n Number) E164() string {
	if n.national == "" {
		return ""
	}
	return "+86" + n.national
}

// IsZero reports whether n is no number.
func (n Number) IsZero() bool { return n.national == "" }

// Masked is the number as it may be shown: 138****1234.
func (n Number) Masked() string {
	if n.national == "" {
		return "-"
	}
	return n.national[:3] + "****" + n.national[7:]
}

// String is Masked.
func (n Number) String() string { return n.Masked() }

// GoString is Masked.
func (n Number) GoString() string { return n.Masked() }

// Format prints Masked for every verb.
func (n Number) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(n.Masked())) }

// MarshalText gives Masked, so that encoders can't reveal the number.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.Masked()), nil }

// LogValue gives Masked.
func (n Number) LogValue() slog.Value { return slog.StringValue(n.Masked()) }
