package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// MaxBody bounds what Extract reads: an order with the longest history is smaller.
const MaxBody = 64 << 10

// Why no receipt was found.
var (
	ErrBody      = errors.New("it is neither a receipt nor the JSON of an order")
	ErrNoReceipt = errors.New("the order has no receipt: it had not ended when this was saved")
)

// Extract finds the receipt in what a person saved: the bare receipt, or the body
// of GET /v1/unbinds/{unbindId}. White space around it is dropped. The receipt is
// not verified.
//
// Errors: ErrBody, ErrNoReceipt.
func Extract(saved []byte) ([]byte, error) {
	text := bytes.TrimSpace(saved)
	if len(saved) > MaxBody || len(text) == 0 {
		return nil, ErrBody
	}
	if text[0] != '{' {
		return text, nil
	}
	if uniqueMembers(text) != nil {
		return nil, ErrBody
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(text, &body) != nil {
		return nil, ErrBody
	}
	member, ok := body["receipt"]
	if !ok {
		return nil, ErrNoReceipt
	}
	var jws *string
	if json.Unmarshal(member, &jws) != nil || jws == nil {
		return nil, ErrBody
	}
	return []byte(*jws), nil
}

var (
	errTwice = errors.New("a member stands twice")
	errMore  = errors.New("something follows the value")
)

// uniqueMembers checks that text is one JSON value in which no object has a member
// twice. The library takes the last of two, also where they differ in case, and
// another reader may take the first.
func uniqueMembers(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := uniqueValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMore
	}
	return nil
}

// deepest is more than any text of ours needs.
const deepest = 16

func uniqueValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == deepest {
		return ErrBody
	}
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			s, _ := name.(string) // a member's name is a string, or Token fails
			if s = strings.ToLower(strings.ToUpper(s)); seen[s] {
				return errTwice
			}
			seen[s] = true
		}
		if err := uniqueValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
