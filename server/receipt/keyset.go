package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
)

// KeySet is the public keys of a hub: the one that signs and those that did. The
// zero KeySet has none.
type KeySet struct{ keys []publicKey }

type publicKey struct {
	kid string
	key ed25519.PublicKey
}

// jwk is a key as RFC 8037 writes it. D is the private part, in the key file only.
type jwk struct {
	Algorithm string `json:"alg,omitempty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	KeyType   string `json:"kty"`
	Use       string `json:"use,omitempty"`
	X         string `json:"x"`
	D         string `json:"d,omitempty"`
}

const (
	keyType = "OKP"
	curve   = "Ed25519"
)

// thumbprint is the key's name, RFC 7638: whoever has the key can tell it.
func thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"` + curve + `","kty":"` + keyType + `","x":"` + encode64(key) + `"}`))
	return encode64(sum[:])
}

func public(key ed25519.PublicKey) jwk {
	return jwk{Algorithm: algorithm, Curve: curve, KeyID: thumbprint(key), KeyType: keyType, Use: "sig", X: encode64(key)}
}

// JSON is the set as a JWK Set, RFC 7517.
func (s KeySet) JSON() []byte {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range s.keys {
		set.Keys = append(set.Keys, public(k.key))
	}
	return marshal(set)
}

// IDs are the names of the keys, as they stand in the set.
func (s KeySet) IDs() []string {
	var out []string
	for _, k := range s.keys {
		out = append(out, k.kid)
	}
	return out
}

var kidForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// find returns the key whose header this is, byte for byte. A header that would be
// right for another key is ErrKeyUnknown, any other ErrHeader.
func (s KeySet) find(raw []byte) (ed25519.PublicKey, error) {
	for _, k := range s.keys {
		if bytes.Equal(raw, headerOf(k.kid)) {
			return k.key, nil
		}
	}
	var h header
	if json.Unmarshal(raw, &h) != nil || !kidForm.MatchString(h.KeyID) || !bytes.Equal(raw, headerOf(h.KeyID)) {
		return nil, ErrHeader
	}
	return nil, ErrKeyUnknown
}

// MaxKeySet bounds a JWK Set that is read, in bytes.
const MaxKeySet = 64 << 10

var errKeySet = errors.New("it is not a JWK Set with an Ed25519 key, such as /.well-known/tongcha-receipt-keys.json of the hub")

// ParseKeySet reads a JWK Set. Keys of other kinds are passed over, as RFC 7517
// wants it; one of ours that is not well-formed spoils the set.
func ParseKeySet(text []byte) (KeySet, error) {
	if len(text) > MaxKeySet || uniqueMembers(text) != nil {
		return KeySet{}, errKeySet
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return KeySet{}, errKeySet
	}
	var s KeySet
	for _, raw := range set.Keys {
		var kind struct {
			KeyType string `json:"kty"`
			Curve   string `json:"crv"`
		}
		if json.Unmarshal(raw, &kind) != nil {
			return KeySet{}, errKeySet
		}
		if kind.KeyType != keyType || kind.Curve != curve {
			continue
		}
		var k jwk
		if json.Unmarshal(raw, &k) != nil || s.add(k) != nil {
			return KeySet{}, errKeySet
		}
	}
	if len(s.keys) == 0 {
		return KeySet{}, errKeySet
	}
	return s, nil
}

// add takes a key whose name is its thumbprint, or that has none, once.
func (s *KeySet) add(k jwk) error {
	x, ok := decode64([]byte(k.X))
	if !ok || len(x) != ed25519.PublicKeySize {
		return errKeySet
	}
	kid := thumbprint(x)
	if k.KeyID != "" && k.KeyID != kid {
		return errKeySet
	}
	if slices.Contains(s.IDs(), kid) {
		return errKeySet
	}
	s.keys = append(s.keys, publicKey{kid: kid, key: x})
	return nil
}
