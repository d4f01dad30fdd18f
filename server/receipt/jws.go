package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
)

// A receipt travels as the compact form of RFC 7515, HEADER.PAYLOAD.SIGNATURE.
// The header is the same for every receipt of a key, byte for byte, so nothing in
// it is ever a choice of whoever hands a receipt in.
const (
	algorithm = "EdDSA" // RFC 8037, with Ed25519 keys alone
	mediaType = "tongcha-receipt+jwt"
)

// maxJWS bounds a receipt. One has about 900 bytes, 2,500 with the longest texts.
const maxJWS = 8 << 10

// Why a receipt is not taken.
var (
	ErrForm       = errors.New("it is not a receipt: three parts of base64url, with a dot between them, are needed")
	ErrHeader     = errors.New("its header is not a receipt's")
	ErrKeyUnknown = errors.New("the key that it names is not among the keys given")
	ErrSignature  = errors.New("the signature does not fit: it was changed, or another hub's key made it")
	ErrVersion    = errors.New("it is of a version that this program does not know")
	ErrContent    = errors.New("it was signed, but what it holds is not a receipt's content")
)

type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

func headerOf(kid string) []byte {
	return marshal(header{Algorithm: algorithm, KeyID: kid, Type: mediaType})
}

// strict refuses bits left over in a last character: a receipt has one spelling.
var strict = base64.RawURLEncoding.Strict()

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 refuses line breaks too, which the package of the library skips.
func decode64(s []byte) ([]byte, bool) {
	if bytes.ContainsAny(s, "\r\n") {
		return nil, false
	}
	out := make([]byte, strict.DecodedLen(len(s)))
	n, err := strict.Decode(out, s)
	return out[:n], err == nil
}

// signCompact signs a payload under a header.
func signCompact(key ed25519.PrivateKey, header, payload []byte) string {
	input := encode64(header) + "." + encode64(payload)
	return input + "." + encode64(ed25519.Sign(key, []byte(input)))
}

// Verify reads a receipt that one of the keys signed. It is safe on any input.
//
// Errors: ErrForm, ErrHeader, ErrKeyUnknown, ErrSignature, ErrVersion, ErrContent.
func Verify(jws []byte, keys KeySet) (Receipt, error) {
	if len(jws) > maxJWS {
		return Receipt{}, ErrForm
	}
	parts := bytes.Split(jws, []byte("."))
	if len(parts) != 3 {
		return Receipt{}, ErrForm
	}
	var raw [3][]byte
	for i, p := range parts {
		var ok bool
		if raw[i], ok = decode64(p); !ok || len(raw[i]) == 0 {
			return Receipt{}, ErrForm
		}
	}
	key, err := keys.find(raw[0])
	if err != nil {
		return Receipt{}, err
	}
	signed := jws[:len(parts[0])+1+len(parts[1])]
	if len(raw[2]) != ed25519.SignatureSize || !ed25519.Verify(key, signed, raw[2]) {
		return Receipt{}, ErrSignature
	}
	return decode(raw[1])
}
