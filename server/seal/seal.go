// Package seal keeps personal fields unreadable on disk: authenticated
// encryption and keyed digests over two keysets of one key file.
package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keys seals and opens personal fields and makes keyed digests. It is safe for
// concurrent use.
type Keys struct {
	aead tink.AEAD
	prf  *prf.Set
}

// file is the key file: two Tink keysets in Tink's JSON form. Sealing and
// indexing have keys of their own, so that one can be destroyed without the
// other.
type file struct {
	Version int             `json:"version"`
	Seal    json.RawMessage `json:"seal"`
	Index   json.RawMessage `json:"index"`
}

// Create writes a new key file, readable by its owner alone, and refuses to
// replace one: losing keys loses every record sealed with them. A crash leaves
// either no file or a whole one.
func Create(path string) error {
	sealing, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("seal: make sealing key: %w", err)
	}
	indexing, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return fmt.Errorf("seal: make index key: %w", err)
	}
	f := file{Version: 1}
	if f.Seal, err = export(sealing); err != nil {
		return err
	}
	if f.Index, err = export(indexing); err != nil {
		return err
	}
	body, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("seal: encode keys: %w", err)
	}
	return writeNew(path, append(body, '\n'))
}

// writeNew writes beside the path, syncs, and links into place, which fails
// where the path exists. Then it syncs the folder: a name that a loss of power takes
// back would leave a database without its keys.
func writeNew(path string, body []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(body)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("seal: keys are never overwritten, choose another file: %s: %w", path, fs.ErrExist)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("seal: write keys: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a key file. A file that others than its owner can read is refused:
// whoever has it can open every record.
func Load(path string) (*Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("seal: %s can be read by others (mode %o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var f file
	if err := json.Unmarshal(body, &f); err != nil || f.Version != 1 {
		return nil, fmt.Errorf("seal: %s is not a version 1 key file", path)
	}
	return fromKeysets(f)
}

func fromKeysets(f file) (*Keys, error) {
	sealing, err := restore(f.Seal)
	if err != nil {
		return nil, fmt.Errorf("seal: sealing keys: %w", err)
	}
	indexing, err := restore(f.Index)
	if err != nil {
		return nil, fmt.Errorf("seal: index keys: %w", err)
	}
	k := new(Keys)
	if k.aead, err = aead.New(sealing); err != nil {
		return nil, fmt.Errorf("seal: sealing keys: %w", err)
	}
	if k.prf, err = prf.NewPRFSet(indexing); err != nil {
		return nil, fmt.Errorf("seal: index keys: %w", err)
	}
	return k, nil
}

func export(h *keyset.Handle) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("seal: export keyset: %w", err)
	}
	return b.Bytes(), nil
}

func restore(j json.RawMessage) (*keyset.Handle, error) {
	return insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(j)))
}

// Seal encrypts plain. context names the record it belongs to; Open with another
// context fails, so a sealed field can't be moved to another record.
func (k *Keys) Seal(plain, context []byte) ([]byte, error) {
	c, err := k.aead.Encrypt(plain, context)
	if err != nil {
		return nil, fmt.Errorf("seal: encrypt: %w", err)
	}
	return c, nil
}

// Open decrypts what Seal made with the same context.
func (k *Keys) Open(sealed, context []byte) ([]byte, error) {
	p, err := k.aead.Decrypt(sealed, context)
	if err != nil {
		return nil, fmt.Errorf("seal: decrypt: %w", err)
	}
	return p, nil
}

// Sum is a keyed digest of the parts for a purpose. Every part is preceded by
// its length, so that ("ab","c") and ("a","bc") differ.
func (k *Keys) Sum(purpose string, parts ...[]byte) [32]byte {
	in := appendPart(nil, []byte(purpose))
	for _, p := range parts {
		in = appendPart(in, p)
	}
	out, err := k.prf.ComputePrimaryPRF(in, 32)
	if err != nil {
		// 32 bytes is within what HMAC-SHA256 gives, so this can't be.
		panic("seal: digest: " + err.Error())
	}
	return [32]byte(out)
}

func appendPart(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

// Token returns n bytes from the system's random source.
func Token(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}
