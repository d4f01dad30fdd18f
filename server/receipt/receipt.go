// Package receipt makes and verifies receipts: the hub's signed word about how an
// unbind order ended, which a person can show a complaint desk.
package receipt

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// Receipt is what a hub attests about an order that has ended. It says nothing of
// a person but the masked number.
type Receipt struct {
	Issuer       string // the hub, spiffe://<trust domain>/hub/<id>
	UnbindID     string
	Sequence     int // how often the person had appealed: of two receipts the higher one holds
	PlatformID   string
	PlatformName string
	MaskedNumber string // 138****1234
	AccountCount int
	CreateTime   time.Time // when the order was taken; whole seconds, as the other times
	DueTime      time.Time
	EndTime      time.Time
	Outcome      string // COMPLETED, REFUSED, ABANDONED or CANCELLED
	Reason       string // why, in one word; "" for COMPLETED
	RefusalText  string // what the platform said
}

// version is the version of the claims. A verifier refuses those it does not know.
const version = 1

// claims is the payload in the one form it has: no space, members in this order,
// times of RFC 3339 in UTC without fractions.
type claims struct {
	Issuer       string `json:"iss"`
	IssuedAt     int64  `json:"iat"` // EndTime, so that one end has one receipt
	Version      int    `json:"receiptVersion"`
	UnbindID     string `json:"unbindId"`
	Sequence     int    `json:"sequence"`
	PlatformID   string `json:"platformId"`
	PlatformName string `json:"displayName"`
	MaskedNumber string `json:"maskedPhoneNumber"`
	AccountCount int    `json:"accountCount"`
	CreateTime   string `json:"createTime"`
	DueTime      string `json:"dueTime"`
	EndTime      string `json:"endTime"`
	Outcome      string `json:"outcome"`
	Reason       string `json:"reason,omitempty"`
	RefusalText  string `json:"refusalText,omitempty"`
}

// encode gives the payload. Texts that are not UTF-8 are mended first: what is
// read back must be what was written.
func (r Receipt) encode() []byte {
	text := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return marshal(claims{
		Issuer: text(r.Issuer), IssuedAt: r.EndTime.Unix(), Version: version, UnbindID: text(r.UnbindID), Sequence: r.Sequence,
		PlatformID: text(r.PlatformID), PlatformName: text(r.PlatformName), MaskedNumber: text(r.MaskedNumber), AccountCount: r.AccountCount,
		CreateTime: clock(r.CreateTime), DueTime: clock(r.DueTime), EndTime: clock(r.EndTime),
		Outcome: text(r.Outcome), Reason: text(r.Reason), RefusalText: text(r.RefusalText),
	})
}

func clock(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// marshal encodes plain structs of this package, which always succeeds.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("receipt: encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var (
	maskedForm = regexp.MustCompile(`^1[3-9][0-9]\*{4}[0-9]{4}$`)
	issuerForm = regexp.MustCompile(`^spiffe://[a-z0-9._-]{1,255}/hub/[a-z0-9._-]{2,64}$`)
)

// decode reads a payload whose signature is good. Only what encode writes is
// taken: members that are unknown, repeated, spelled otherwise or missing, and
// bytes that follow, all change the bytes when they are written again.
//
// Errors: ErrVersion, ErrContent.
func decode(payload []byte) (Receipt, error) {
	var v struct {
		Version int `json:"receiptVersion"`
	}
	if err := json.Unmarshal(payload, &v); err != nil {
		return Receipt{}, ErrContent
	}
	if v.Version != version {
		return Receipt{}, ErrVersion
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Receipt{}, ErrContent
	}
	r := Receipt{
		Issuer: c.Issuer, UnbindID: c.UnbindID, Sequence: c.Sequence, PlatformID: c.PlatformID, PlatformName: c.PlatformName,
		MaskedNumber: c.MaskedNumber, AccountCount: c.AccountCount, Outcome: c.Outcome, Reason: c.Reason, RefusalText: c.RefusalText,
	}
	for _, t := range []struct {
		to   *time.Time
		text string
	}{{&r.CreateTime, c.CreateTime}, {&r.DueTime, c.DueTime}, {&r.EndTime, c.EndTime}} {
		var err error
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return Receipt{}, ErrContent
		}
	}
	if !r.plausible() || !bytes.Equal(r.encode(), payload) {
		return Receipt{}, ErrContent
	}
	return r, nil
}

// plausible guards against a key that signed what is no receipt of an order.
func (r Receipt) plausible() bool {
	switch r.Outcome {
	case "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED":
	default:
		return false
	}
	return issuerForm.MatchString(r.Issuer) && r.UnbindID != "" && r.PlatformID != "" && maskedForm.MatchString(r.MaskedNumber) &&
		r.Sequence >= 0 && r.AccountCount >= 0
}
