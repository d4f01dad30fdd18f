package receipt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	// A crash in the middle of Create leaves half a file beside.
	if err := os.WriteFile(filepath.Join(dir, KeyFile+".new"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, KeyFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := Create(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(dir)
	if err != nil || a.Sign(sample()) != b.Sign(sample()) {
		t.Errorf("another receipt after a restart: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

// rotated is the file after the key was replaced: the old one without its private
// part, then the new one.
func rotated(t *testing.T, old, fresh *Signer) []byte {
	t.Helper()
	k := public(fresh.set.keys[0].key)
	k.D = encode64(fresh.key.Seed())
	body, err := json.Marshal(keyFile{Version: 1, Keys: []jwk{public(old.set.keys[0].key), k}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestReplacedKeyStillVerifies(t *testing.T) {
	old, fresh := newSigner(t), newSigner(t)
	now, err := parseKeyFile(rotated(t, old, fresh))
	if err != nil {
		t.Fatal(err)
	}
	published, err := ParseKeySet(now.Keys().JSON())
	if err != nil || len(published.IDs()) != 2 {
		t.Fatalf("%v %v", published.IDs(), err)
	}
	for _, jws := range []string{old.Sign(sample()), now.Sign(sample())} {
		if _, err := Verify([]byte(jws), published); err != nil {
			t.Error(err)
		}
	}
	if now.Sign(sample()) != fresh.Sign(sample()) {
		t.Error("the old key signs on")
	}
}

func TestBrokenKeyFiles(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	k := public(s.set.keys[0].key)
	k.D = encode64(s.key.Seed())
	good, err := json.Marshal(keyFile{Version: 1, Keys: []jwk{k}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseKeyFile(good); err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) string {
		if !strings.Contains(string(good), from) {
			t.Fatalf("the file has no %s", from)
		}
		return strings.Replace(string(good), from, to, 1)
	}
	otherKey := public(other.set.keys[0].key)
	otherKey.D = encode64(other.key.Seed())
	two, err := json.Marshal(keyFile{Version: 1, Keys: []jwk{k, otherKey}})
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(keyFile{Version: 1, Keys: []jwk{public(s.set.keys[0].key), k}})
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string]string{
		"empty": "", "cut": string(good[:len(good)-2]), "something follows": string(good) + "{}", "not JSON": "\x00", "newer": change(`"version":1`, `"version":2`),
		"no keys": `{"version":1,"keys":[]}`, "no private part": change(`,"d":"`+k.D+`"`, ``), "half a private part": change(k.D, k.D[:20]),
		"private part of another": change(k.D, otherKey.D), "public part of another": change(k.X, otherKey.X), "name of another": change(k.KeyID, otherKey.KeyID),
		"no name": change(`"kid":"`+k.KeyID+`",`, ``), "another curve": change(`Ed25519`, `X25519`), "member twice": change(`{"version"`, `{"version":1,"version"`),
		"two private parts": string(two), "the key twice": string(twice),
	} {
		if _, err := parseKeyFile([]byte(body)); err == nil || !strings.Contains(err.Error(), KeyFile) {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), k.D) {
			t.Errorf("%s: the error holds the key", what)
		}
	}
}

func TestPublishedKeys(t *testing.T) {
	s := newSigner(t)
	text := string(s.Keys().JSON())
	if strings.Contains(text, `"d"`) || strings.Contains(text, encode64(s.key.Seed())) {
		t.Fatal("the private part is published")
	}
	for _, part := range []string{`{"keys":[{`, `"kty":"OKP"`, `"crv":"Ed25519"`, `"alg":"EdDSA"`, `"use":"sig"`} {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %s", text, part)
		}
	}
	if got, err := ParseKeySet([]byte(text)); err != nil || !slices.Equal(got.IDs(), s.Keys().IDs()) {
		t.Errorf("%v %v", got.IDs(), err)
	}
	mixed := strings.Replace(text, `[{`, `[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"1"},{"kty":"RSA"},{`, 1)
	if got, err := ParseKeySet([]byte(mixed)); err != nil || len(got.IDs()) != 1 {
		t.Errorf("among other kinds: %v %v", got.IDs(), err)
	}
	key := text[len(`{"keys":[`) : len(text)-len("]}")]
	for what, bad := range map[string]string{
		"empty": "", "none": `{"keys":[]}`, "no set": key, "null": "null", "list": "[]", "twice": `{"keys":[` + key + "," + key + `]}`,
		"member twice": strings.Replace(text, `"kty"`, `"X":"AA","kty"`, 1), "key of another name": strings.Replace(text, s.Keys().IDs()[0], strings.Repeat("A", 43), 1),
		"short key": strings.Replace(text, `"x":"`, `"x":"","y":"`, 1), "number": `{"keys":[1]}`, "deep": strings.Repeat("[", 10_000), "huge": text + strings.Repeat(" ", MaxKeySet),
		"something follows": text + text,
	} {
		if _, err := ParseKeySet([]byte(bad)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestExtract(t *testing.T) {
	const jws = "aaa.bbb.ccc"
	for what, c := range map[string]struct {
		in  string
		err error
	}{
		"bare":              {jws, nil},
		"with a line break": {" " + jws + "\r\n", nil},
		"an order":          {`{"unbindId":"x","history":[{"state":"a"}],"receipt":"` + jws + "\"}\n", nil},
		"empty":             {"", ErrBody},
		"white":             {" \n", ErrBody},
		"an open order":     {`{"unbindId":"x"}`, ErrNoReceipt},
		"in capitals":       {`{"Receipt":"` + jws + `"}`, ErrNoReceipt},
		"null":              {`{"receipt":null}`, ErrBody},
		"a number":          {`{"receipt":1}`, ErrBody},
		"twice":             {`{"receipt":"x","receipt":"` + jws + `"}`, ErrBody},
		"twice by case":     {`{"receipt":"` + jws + `","RECEIPT":"x"}`, ErrBody},
		"twice, deeper":     {`{"receipt":"` + jws + `","history":[{"a":1,"a":2}]}`, ErrBody},
		"something follows": {`{"receipt":"` + jws + `"}{}`, ErrBody},
		"cut":               {`{"receipt":"` + jws, ErrBody},
		"deep":              {`{"a":` + strings.Repeat("[", 5_000), ErrBody},
		"huge":              {jws + strings.Repeat("\n", MaxBody), ErrBody},
	} {
		got, err := Extract([]byte(c.in))
		if !errors.Is(err, c.err) || err == nil && string(got) != jws {
			t.Errorf("%s: %q, %v; want %v", what, got, err, c.err)
		}
	}
}
