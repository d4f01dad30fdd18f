package verify

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/seal"
)

// Code is a code sent to a number. It prints as ****** everywhere.
type Code struct{ digits string }

// newCode draws a code from the system's random source, every value alike.
func newCode() Code {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		panic("verify: no random source: " + err.Error())
	}
	return Code{digits: fmt.Sprintf("%06d", n.Int64())}
}

// ParseCode reads a code as people type it: full-width digits are narrowed,
// spaces dropped. The error never repeats the input.
//
// Errors: fault.CodeInvalid.
func ParseCode(s string) (Code, error) {
	if len(s) > 64 {
		return Code{}, fault.CodeInvalid.On("code")
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == ' ' || r == '\u3000':
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case r >= '\uff10' && r <= '\uff19':
			b.WriteRune(r - '\uff10' + '0')
		default:
			return Code{}, fault.CodeInvalid.On("code")
		}
	}
	if b.Len() != CodeLength {
		return Code{}, fault.CodeInvalid.On("code")
	}
	return Code{digits: b.String()}, nil
}

// Reveal shows the code. Only a Sender calls it.
func (c Code) Reveal() string { return c.digits }

// String is ******.
func (c Code) String() string { return "******" }

// GoString is ******.
func (c Code) GoString() string { return "******" }

// Format prints ****** for every verb.
func (c Code) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("******")) }

// MarshalText gives ******.
func (c Code) MarshalText() ([]byte, error) { return []byte("******"), nil }

// LogValue gives ******.
func (c Code) LogValue() slog.Value { return slog.StringValue("******") }

// digest binds the code to its verification, so that equal codes differ on disk.
func (c Code) digest(m phone.MAC, id string) [32]byte {
	return m.Sum("code", []byte(id), []byte(c.digits))
}

// Token opens a session. It prints as ****** everywhere and is stored only as
// a digest.
type Token struct{ value string }

const tokenBytes = 32

// NewToken makes a token of 256 random bits.
func NewToken() Token {
	return Token{value: base64.RawURLEncoding.EncodeToString(seal.Token(tokenBytes))}
}

// ParseToken takes a token as a client sent it. Whether it opens anything is
// for Service.Session to say.
func ParseToken(s string) Token { return Token{value: s} }

func (t Token) wellFormed() bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(t.value)
	return err == nil && len(b) == tokenBytes
}

func (t Token) digest(m phone.MAC) [32]byte { return m.Sum("token", []byte(t.value)) }

// Reveal shows the token. Only the answer that opens a session calls it.
func (t Token) Reveal() string { return t.value }

// String is ******.
func (t Token) String() string { return "******" }

// GoString is ******.
func (t Token) GoString() string { return "******" }

// Format prints ****** for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("******")) }

// MarshalText gives ******.
func (t Token) MarshalText() ([]byte, error) { return []byte("******"), nil }

// LogValue gives ******.
func (t Token) LogValue() slog.Value { return slog.StringValue("******") }

// Failed is the one error for a code that does not open a session.
func Failed(v Verdict) error {
	return fault.VerificationFailed.New().WithRetry(v.RetryAfter).With("attemptsLeft", strconv.Itoa(v.AttemptsLeft))
}

func (s *Service) newVerification(r Request, now time.Time) (Verification, Code) {
	code := newCode()
	v := Verification{
		ID: seal.NewID(now), Number: r.Number, NumberIndex: phone.IndexOf(s.mac, r.Number), Suffix: r.Suffix,
		Address: s.mac.Sum("address", []byte(r.Address)), Consent: r.Consent,
		CreateTime: now, ExpireTime: now.Add(s.limits.CodeLife),
	}
	v.CodeDigest = code.digest(s.mac, v.ID)
	return v, code
}
