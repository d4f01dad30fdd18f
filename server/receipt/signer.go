package receipt

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// KeyFile is the file of the keys inside the hub's folder.
const KeyFile = "receipt-keys.json"

// keyFile is its content: public keys, oldest first, and one private part. A key
// that was replaced stays without its private part, so that what it signed can be
// verified for as long as anybody keeps it.
type keyFile struct {
	Version int   `json:"version"`
	Keys    []jwk `json:"keys"`
}

// Signer signs receipts. It is safe for concurrent use.
type Signer struct {
	key    ed25519.PrivateKey
	header []byte
	set    KeySet
}

// Create makes a key file in dir, which must exist. It refuses to replace one
// (fs.ErrExist). One process at a time may use dir. A crash leaves a whole file or
// none.
func Create(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, KeyFile)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: %w", KeyFile, fs.ErrExist)
		}
		return err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	k := public(pub)
	k.D = encode64(key.Seed())
	body, err := json.MarshalIndent(keyFile{Version: 1, Keys: []jwk{k}}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(dir, append(body, '\n'))
}

// Load reads the key file in dir; fs.ErrNotExist where there is none. It refuses
// one that others than its owner can read: whoever has it can make receipts.
func Load(dir string) (*Signer, error) {
	path := filepath.Join(dir, KeyFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxKeySet {
		return nil, broken("no such file is ever written")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is readable by others (mode %04o): chmod 600 it, and replace the key if it may have leaked", KeyFile, info.Mode().Perm())
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseKeyFile(body)
}

func broken(why string) error {
	return fmt.Errorf("%s is damaged (%s): restore it from a backup, as receipts made before can't be verified without it", KeyFile, why)
}

func parseKeyFile(body []byte) (*Signer, error) {
	var f keyFile
	if err := uniqueMembers(body); err != nil {
		return nil, broken("not JSON")
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, broken("not a key file")
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("%s is of a version that this program does not know: use the program that wrote it, or a newer one", KeyFile)
	}
	s := new(Signer)
	for _, k := range f.Keys {
		if k.KeyType != keyType || k.Curve != curve || k.KeyID == "" || s.set.add(k) != nil {
			return nil, broken("a key is not well-formed")
		}
		if k.D == "" {
			continue
		}
		seed, ok := decode64([]byte(k.D))
		if !ok || len(seed) != ed25519.SeedSize || s.key != nil {
			return nil, broken("one key must have a private part, and it must be whole")
		}
		s.key = ed25519.NewKeyFromSeed(seed)
		if pub, _ := s.key.Public().(ed25519.PublicKey); encode64(pub) != k.X {
			return nil, broken("the private part is of another key")
		}
		s.header = headerOf(k.KeyID)
	}
	if s.key == nil {
		return nil, broken("no key has a private part")
	}
	return s, nil
}

// Sign makes the receipt: the same bytes for the same receipt and key.
func (s *Signer) Sign(r Receipt) string { return signCompact(s.key, s.header, r.encode()) }

// Keys are the public keys that receipts of this hub are verified with.
func (s *Signer) Keys() KeySet { return s.set }

// writeFile puts the key file in place whole: written aside, flushed, renamed, and
// the folder flushed.
func writeFile(dir string, data []byte) error {
	temp := filepath.Join(dir, KeyFile+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, KeyFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
