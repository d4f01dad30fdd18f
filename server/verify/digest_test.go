package verify

import (
	"crypto/sha256"
	"slices"
	"testing"
)

// plainMAC is a digest without a key.
type plainMAC struct{}

func (plainMAC) Sum(purpose string, parts ...[]byte) [32]byte {
	return sha256.Sum256(slices.Concat(append([][]byte{[]byte(purpose + ":")}, parts...)...))
}

// TestCodeDigest: equal codes of two verifications differ on disk.
func TestCodeDigest(t *testing.T) {
	c, d := Code{digits: "123456"}, Code{digits: "123457"}
	if c.digest(plainMAC{}, "id1") == c.digest(plainMAC{}, "id2") || c.digest(plainMAC{}, "id1") == d.digest(plainMAC{}, "id1") {
		t.Error("two codes have one digest")
	}
}
