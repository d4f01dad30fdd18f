package seal

import (
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idAlphabet is Crockford's base 32 in lower case: its order is the order of
// the bytes, and it has no letters that are mistaken for digits.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// IDLen is the length of every id that NewID makes.
const IDLen = 26

// NewID makes an id of 26 characters: 48 bits of milliseconds, so that ids sort
// by time and fill a B+tree from the right, and 80 random bits, so that nobody
// guesses one.
func NewID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	copy(b[6:], Token(10))
	return base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding).EncodeToString(b[:])
}

// IsID reports whether s has the form of an id.
func IsID(s string) bool {
	if len(s) != IDLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z' || c == 'i' || c == 'l' || c == 'o' || c == 'u') {
			return false
		}
	}
	return true
}
