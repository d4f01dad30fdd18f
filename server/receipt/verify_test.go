package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// The key, thumbprint and signature of RFC 8037, appendix A.
func TestVectorsOfRFC8037(t *testing.T) {
	seed, ok := decode64([]byte("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
	if !ok {
		t.Fatal("the seed is not base64url")
	}
	key := ed25519.NewKeyFromSeed(seed)
	pub := key.Public().(ed25519.PublicKey)
	if got := encode64(pub); got != "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" {
		t.Errorf("x = %s", got)
	}
	if got := thumbprint(pub); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("thumbprint = %s", got)
	}
	got := signCompact(key, []byte(`{"alg":"EdDSA"}`), []byte("Example of Ed25519 signing"))
	if got != "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" {
		t.Errorf("JWS = %s", got)
	}
}

func TestSignAndVerify(t *testing.T) {
	s := newSigner(t)
	completed := sample()
	completed.Outcome, completed.Reason, completed.RefusalText, completed.Sequence = "COMPLETED", "", "", 0
	for _, want := range []Receipt{sample(), completed} {
		jws := s.Sign(want)
		if jws != s.Sign(want.read()) || strings.Count(jws, ".") != 2 {
			t.Errorf("not the same bytes, or no compact form: %s", jws)
		}
		got, err := Verify([]byte(jws), s.Keys())
		if err != nil || got != want.read() {
			t.Errorf("%+v, %v; want %+v", got, err, want.read())
		}
	}
	longest := sample()
	longest.PlatformName, longest.RefusalText = strings.Repeat("名", 64), strings.Repeat("\\", 200)
	if jws := s.Sign(longest); len(jws) > maxJWS/2 {
		t.Errorf("the longest receipt has %d bytes", len(jws))
	}
	mended := sample()
	mended.PlatformName = "a\xff"
	if _, err := Verify([]byte(s.Sign(mended)), s.Keys()); err != nil {
		t.Errorf("a name that is not UTF-8: %v", err)
	}
}

// What a receipt holds is written down here, so that a new member is seen: a desk
// is shown all of it.
func TestContent(t *testing.T) {
	want := `{"iss":"spiffe://hub.example/hub/main","iat":1794762123,"receiptVersion":1,"unbindId":"01KA0000000000000000000001","sequence":1,` +
		`"platformId":"mall","displayName":"商城 <&>","maskedPhoneNumber":"138****0002","accountCount":2,` +
		`"createTime":"2026-11-15T17:02:03Z","dueTime":"2026-11-22T17:02:03Z","endTime":"2026-11-15T18:02:03Z",` +
		`"outcome":"REFUSED","reason":"HAS_BALANCE","refusalText":"账户内仍有余额 \"1\" \u2028\\"}`
	r := sample()
	want = strings.Replace(want, "1794762123", jsonInt(r.EndTime), 1)
	if got := string(r.encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func jsonInt(at time.Time) string { b, _ := json.Marshal(at.Unix()); return string(b) }

// Every character of a receipt counts: any other in its place, and any cut, is
// refused.
func TestFlippedAndCut(t *testing.T) {
	s := newSigner(t)
	jws := []byte(s.Sign(sample()))
	for i := range jws {
		if _, err := Verify(jws[:i], s.Keys()); err == nil {
			t.Fatalf("taken when cut at %d", i)
		}
		for _, c := range []byte("A.=\n") {
			bad := bytes.Clone(jws)
			if bad[i] == c {
				continue
			}
			bad[i] = c
			if _, err := Verify(bad, s.Keys()); err == nil {
				t.Fatalf("taken with %q at %d", c, i)
			}
		}
		bad := bytes.Clone(jws)
		bad[i] ^= 1
		if _, err := Verify(bad, s.Keys()); err == nil {
			t.Fatalf("taken with a bit flipped at %d", i)
		}
	}
	// The last character of a signature has four bits that stand for nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(jws) - 1
	for n := range 15 {
		bad := bytes.Clone(jws)
		bad[last] = alphabet[strings.IndexByte(alphabet, jws[last])+1+n]
		if _, err := Verify(bad, s.Keys()); !errors.Is(err, ErrForm) {
			t.Errorf("spelled with %q at the end: %v", bad[last], err)
		}
	}
}

func TestForgeries(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	payload := sample().encode()
	kid := s.set.keys[0].kid
	signed := func(header string, payload []byte) string { return signCompact(s.key, []byte(header), payload) }
	ours := string(headerOf(kid))
	compact := func(header string) string { return encode64([]byte(header)) + "." + encode64(payload) }
	mac := hmac.New(sha256.New, s.set.keys[0].key)
	hs256 := compact(strings.Replace(ours, "EdDSA", "HS256", 1))
	_, _ = mac.Write([]byte(hs256))
	zero := encode64(make([]byte, 64))
	replace := func(from, to string) []byte { return bytes.Replace(payload, []byte(from), []byte(to), 1) }
	for what, c := range map[string]struct {
		jws string
		err error
	}{
		"empty":                          {"", ErrForm},
		"one part":                       {"abc", ErrForm},
		"two dots":                       {"..", ErrForm},
		"four parts":                     {s.Sign(sample()) + ".AAAA", ErrForm},
		"something follows":              {s.Sign(sample()) + "AAAA", ErrSignature},
		"a line break in it":             {strings.Replace(s.Sign(sample()), ".", ".\n", 1), ErrForm},
		"padding":                        {s.Sign(sample()) + "==", ErrForm},
		"huge":                           {strings.Repeat("A", 1<<20) + "." + strings.Repeat("A", 1<<20) + ".AAAA", ErrForm},
		"not JSON":                       {signed("x", payload), ErrHeader},
		"alg none, no signature":         {compact(strings.Replace(ours, "EdDSA", "none", 1)) + ".", ErrForm},
		"alg none":                       {compact(strings.Replace(ours, "EdDSA", "none", 1)) + "." + zero, ErrHeader},
		"HS256 with the public key":      {hs256 + "." + encode64(mac.Sum(nil)), ErrHeader},
		"HS256's tag under our header":   {compact(ours) + "." + encode64(mac.Sum(nil)), ErrSignature},
		"alg Ed448":                      {signed(strings.Replace(ours, "EdDSA", "Ed448", 1), payload), ErrHeader},
		"another type":                   {signed(strings.Replace(ours, mediaType, "JWT", 1), payload), ErrHeader},
		"alg twice":                      {signed(`{"alg":"none",`+ours[1:], payload), ErrHeader},
		"alg in capitals":                {signed(strings.Replace(ours, `"alg"`, `"ALG"`, 1), payload), ErrHeader},
		"crit":                           {signed(strings.TrimSuffix(ours, "}")+`,"crit":["exp"]}`, payload), ErrHeader},
		"a key of its own":               {signCompact(other.key, []byte(strings.TrimSuffix(ours, "}")+`,"jwk":`+string(marshal(public(other.set.keys[0].key)))+"}"), payload), ErrHeader},
		"no kid":                         {signed(`{"alg":"EdDSA","typ":"`+mediaType+`"}`, payload), ErrHeader},
		"kid of no form":                 {signed(string(headerOf("../../etc")), payload), ErrHeader},
		"kid of another hub":             {other.Sign(sample()), ErrKeyUnknown},
		"kid that nobody has":            {signed(string(headerOf(strings.Repeat("A", 43))), payload), ErrKeyUnknown},
		"our kid, another hub's key":     {signCompact(other.key, []byte(ours), payload), ErrSignature},
		"signature of zeros":             {compact(ours) + "." + zero, ErrSignature},
		"short signature":                {compact(ours) + ".AAAA", ErrSignature},
		"signed, of a newer version":     {signed(ours, replace(`"receiptVersion":1`, `"receiptVersion":2,"new":true`)), ErrVersion},
		"signed, a member twice":         {signed(ours, replace(`"sequence":1`, `"sequence":2,"sequence":1`)), ErrContent},
		"signed, a member more":          {signed(ours, replace(`"sequence":1`, `"sequence":1,"idSuffix":"29876X"`)), ErrContent},
		"signed, a member in capitals":   {signed(ours, replace(`"outcome"`, `"OUTCOME"`)), ErrContent},
		"signed, a member less":          {signed(ours, replace(`"sequence":1,`, ``)), ErrContent},
		"signed, a space":                {signed(ours, replace(`,"sequence"`, `, "sequence"`)), ErrContent},
		"signed, something follows":      {signed(ours, append(bytes.Clone(payload), "{}"...)), ErrContent},
		"signed, other iat":              {signed(ours, replace(`"iat":1`, `"iat":2`)), ErrContent},
		"signed, a time of another form": {signed(ours, replace(`17:02:03Z`, `17:02:03+00:00`)), ErrContent},
		"signed, no time":                {signed(ours, replace(`2026-11-15T17:02:03Z`, `soon`)), ErrContent},
		"signed, an open state":          {signed(ours, replace(`"REFUSED"`, `"QUEUED"`)), ErrContent},
		"signed, a whole number":         {signed(ours, replace(`138****0002`, `13800000002`)), ErrContent},
		"signed, a person as issuer":     {signed(ours, replace(`/hub/main`, `/platform/main`)), ErrContent},
		"signed, no object":              {signed(ours, []byte("[]")), ErrContent},
		"signed, nothing":                {signed(ours, nil), ErrForm},
		"signed, bad UTF-8":              {signed(ours, replace("商", "\xff")), ErrContent},
	} {
		if got, err := Verify([]byte(c.jws), s.Keys()); !errors.Is(err, c.err) || got != (Receipt{}) {
			t.Errorf("%s: %+v, %v; want %v", what, got, err, c.err)
		}
	}
	if _, err := Verify([]byte(s.Sign(sample())), KeySet{}); !errors.Is(err, ErrKeyUnknown) {
		t.Errorf("without keys: %v", err)
	}
}

// FuzzVerify looks for a receipt that is taken and is not, byte for byte, what the
// signer makes of its content.
func FuzzVerify(f *testing.F) {
	s := newSigner(f)
	good := s.Sign(sample())
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)-1]))
	f.Add([]byte(".."))
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Add(append([]byte(`{"unbindId":"x","receipt":"`), good+`"}`...))
	f.Add(s.Keys().JSON())
	f.Fuzz(func(t *testing.T, in []byte) {
		if keys, err := ParseKeySet(in); err == nil {
			if again, err := ParseKeySet(keys.JSON()); err != nil || len(again.IDs()) != len(keys.IDs()) {
				t.Errorf("a key set does not come back: %v", err)
			}
		}
		_, _ = parseKeyFile(in)
		jws, err := Extract(in)
		if err != nil {
			jws = in
		}
		r, err := Verify(jws, s.Keys())
		if (err == nil) != (r != Receipt{}) {
			t.Errorf("%+v with %v", r, err)
		}
		if err == nil && s.Sign(r) != string(jws) {
			t.Errorf("taken: %q", jws)
		}
	})
}

// FuzzDecode does the same behind the signature.
func FuzzDecode(f *testing.F) {
	f.Add(sample().encode())
	f.Add([]byte(`{"receiptVersion":1}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if r, err := decode(payload); err == nil && !bytes.Equal(r.encode(), payload) {
			t.Errorf("taken: %q", payload)
		}
	})
}
