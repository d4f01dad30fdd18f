package phone

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/tongcha/tongcha/server/fault"
)

// DocumentType is the kind of identity document a suffix is taken from.
type DocumentType string

// The document types.
const (
	ResidentID        DocumentType = "RESIDENT_ID"
	Passport          DocumentType = "PASSPORT"
	HKMacaoPermit     DocumentType = "HK_MACAO_PERMIT"
	TaiwanPermit      DocumentType = "TAIWAN_PERMIT"
	ForeignResidentID DocumentType = "FOREIGN_RESIDENT_ID"
)

// ParseDocumentType reads a document type; empty means RESIDENT_ID.
//
// Errors: fault.DocumentTypeInvalid.
func ParseDocumentType(s string) (DocumentType, error) {
	switch d := DocumentType(s); d {
	case "":
		return ResidentID, nil
	case ResidentID, Passport, HKMacaoPermit, TaiwanPermit, ForeignResidentID:
		return d, nil
	}
	return "", fault.DocumentTypeInvalid.On("documentType")
}

// IDSuffix is the last 6 characters of an identity document's number. It prints
// as ****** everywhere; only Reveal shows it.
type IDSuffix struct {
	document DocumentType
	value    string
}

// For an 18-digit resident ID (GB 11643-1999) the last 6 are two digits of the
// day of birth, three of sequence and one check character.
var (
	residentSuffix = regexp.MustCompile(`^(0[1-9]|[12]\d|3[01])\d{3}[0-9X]$`)
	otherSuffix    = regexp.MustCompile(`^[0-9A-Z]{6}$`)
)

// ParseIDSuffix reads a suffix: x becomes X, full-width characters are narrowed,
// surrounding spaces dropped. The error never repeats the input.
//
// Errors: fault.IDSuffixInvalid.
func ParseIDSuffix(d DocumentType, s string) (IDSuffix, error) {
	if len(s) > 64 {
		return IDSuffix{}, fault.IDSuffixInvalid.On("idSuffix")
	}
	v := strings.ToUpper(narrow(strings.TrimSpace(s)))
	form := otherSuffix
	if d == ResidentID || d == ForeignResidentID {
		form = residentSuffix
	}
	if !form.MatchString(v) {
		return IDSuffix{}, fault.IDSuffixInvalid.On("idSuffix")
	}
	return IDSuffix{document: d, value: v}, nil
}

// narrow maps full-width ASCII to ASCII.
func narrow(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '\uff01' && r <= '\uff5e' {
			return r - '\uff01' + '!'
		}
		return r
	}, s)
}

// Document is the kind of document.
func (s IDSuffix) Document() DocumentType { return s.document }

// Reveal shows the suffix. Call it only where it leaves for a carrier or goes
// under a seal.
func (s IDSuffix) Reveal() string { return s.value }

// IsZero reports whether s is no suffix.
func (s IDSuffix) IsZero() bool { return s.value == "" }

// String is ******.
func (s IDSuffix) String() string { return "******" }

// GoString is ******.
func (s IDSuffix) GoString() string { return "******" }

// Format prints ****** for every verb.
func (s IDSuffix) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("******")) }

// MarshalText gives ******.
func (s IDSuffix) MarshalText() ([]byte, error) { return []byte("******"), nil }

// LogValue gives ******.
func (s IDSuffix) LogValue() slog.Value { return slog.StringValue("******") }
