package bolt_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// What must be nowhere in the file. Each is odd enough that it is there by no
// accident.
const (
	canaryNumber  = "13987654329"
	canarySuffix  = "QZ7X9K"
	canaryRef     = "canary-account-ref-77"
	canaryProduct = "金丝雀产品"
	canaryRefusal = "canary refusal 欠费未结清"
	canaryURL     = "https://canary.example/go/on"
	canaryAddress = "198.51.100.77"
)

// TestNoPersonalDataInTheFile drives every verb and reads the raw file.
func TestNoPersonalDataInTheFile(t *testing.T) {
	dir := t.TempDir()
	keys := keysIn(t, dir)
	s, err := bolt.Open(filepath.Join(dir, "hub.db"), keys)
	if err != nil {
		t.Fatal(err)
	}
	token := verify.NewToken().Reveal()
	c := canary{T: t, s: s, keys: keys, now: time.Now()}
	c.parse()
	session := c.verify(token)
	c.look(session)
	c.unbind()
	c.check(s.Close())

	raw, err := os.ReadFile(filepath.Join(dir, "hub.db"))
	c.check(err)
	if !bytes.Contains(raw, []byte("canary-platform")) {
		t.Fatal("not even what is public is in the file: the test reads the wrong thing")
	}
	secrets := []string{canaryNumber, canaryNumber[1:], canarySuffix, canaryRef, canaryProduct, canaryRefusal, canaryURL, canaryAddress, token, "736251"}
	for _, secret := range secrets {
		for form, b := range forms(secret) {
			if bytes.Contains(raw, b) {
				t.Errorf("%q is in the file, %s", secret, form)
			}
		}
	}
}

// forms is a text as it may turn up. Base 64 depends on where the text begins in
// what was encoded, so all three phases are tried, without the ends that depend
// on their neighbours.
func forms(s string) map[string][]byte {
	out := map[string][]byte{
		"plain": []byte(s), "hex": []byte(hex.EncodeToString([]byte(s))), "HEX": bytes.ToUpper([]byte(hex.EncodeToString([]byte(s)))),
	}
	for phase := range 3 {
		padded := append(bytes.Repeat([]byte{0}, phase), s...)
		whole := base64.RawStdEncoding.EncodeToString(padded)
		url := base64.RawURLEncoding.EncodeToString(padded)
		out["base64 "+string(rune('0'+phase))] = []byte(whole[2*phase : len(whole)-2])
		out["base64url "+string(rune('0'+phase))] = []byte(url[2*phase : len(url)-2])
	}
	return out
}

type canary struct {
	*testing.T
	s      *bolt.Store
	keys   *seal.Keys
	now    time.Time
	number phone.Number
	suffix phone.IDSuffix
}

func (c *canary) check(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *canary) parse() {
	var err error
	c.number, err = phone.ParseNumber(canaryNumber)
	c.check(err)
	c.suffix, err = phone.ParseIDSuffix(phone.Passport, canarySuffix)
	c.check(err)
}

func (c *canary) index() phone.Index     { return phone.IndexOf(c.keys, c.number) }
func (c *canary) subject() phone.Subject { return phone.SubjectOf(c.keys, c.number, c.suffix) }

// verify drives verify.Store: a code withdrawn, one tried wrongly, one confirmed.
func (c *canary) verify(token string) verify.Session {
	limits := verify.DefaultLimits()
	limits.Resend = 0
	ctx := c.Context()
	var session verify.Session
	for i := range 3 {
		v := verify.Verification{
			ID: seal.NewID(c.now), Number: c.number, NumberIndex: c.index(), Suffix: c.suffix, Address: c.keys.Sum("address", []byte(canaryAddress)),
			Consent:    verify.Consent{Version: "1", Scopes: []string{"LOOKUP"}, Recipients: []string{"canary-platform"}},
			CreateTime: c.now, ExpireTime: c.now.Add(time.Minute),
		}
		v.CodeDigest = c.keys.Sum("code", []byte(v.ID), []byte("736251"))
		c.check(c.s.OpenVerification(ctx, v, limits))
		if i == 0 {
			c.check(c.s.WithdrawVerification(ctx, v.ID))
			continue
		}
		_, err := c.s.GetVerification(ctx, v.ID, c.now, limits)
		c.check(err)
		session = verify.Session{
			Key: c.keys.Sum("token", []byte(token)), Subject: c.subject(), Number: c.number, NumberIndex: c.index(), Suffix: c.suffix,
			HolderSince: c.now, Consent: v.Consent, CreateTime: c.now, ExpireTime: c.now.Add(time.Hour),
		}
		attested := []platform.Attestation{0, platform.AttestMismatch, platform.AttestMatch}[i]
		_, err = c.s.Confirm(ctx, verify.Confirmation{ID: v.ID, CodeDigest: v.CodeDigest, Attestation: attested, Session: session, Now: c.now}, limits)
		c.check(err)
	}
	_, err := c.s.TouchSession(ctx, session.Key, c.now.Add(time.Minute), time.Hour)
	c.check(err)
	return session
}

func (c *canary) look(session verify.Session) {
	ctx := c.Context()
	l := lookup.Lookup{ID: seal.NewID(c.now), Subject: c.subject(), HolderSince: c.now, CreateTime: c.now, FinalBy: c.now.Add(time.Hour), Revision: 1}
	l.Number, l.WakeTime = c.number, c.now.Add(time.Minute)
	l.Rows = []lookup.Row{{Platform: "canary-platform", State: platform.Bound, Accounts: []platform.Account{{Ref: canaryRef, Product: canaryProduct, Period: platform.BeforeHolder}}}}
	_, err := c.s.Create(ctx, l, lookup.Admission{
		SessionKey: session.Key, NumberIndex: c.index(), RequestKey: c.keys.Sum("request", []byte("1")), Now: c.now, ForgetTime: c.now.Add(time.Hour),
	})
	c.check(err)
	l.Complete, l.Revision = true, 2
	l.Rows = append(l.Rows, lookup.Row{Platform: "canary-silent", State: platform.Silent, ReaskTime: c.now})
	c.check(c.s.Merge(ctx, l))
	due, _, err := c.s.DueReasks(ctx, lookup.DueRequest{Now: c.now, Free: func(platform.ID) int { return 1 }, Busy: func(string) bool { return false }})
	c.check(err)
	if len(due) != 1 || due[0].Lookup.Number != c.number {
		c.Fatal("a late question without its number")
	}
	late := lookup.Row{Platform: "canary-silent", State: platform.Bound, Accounts: l.Rows[0].Accounts}
	_, err = c.s.MergeLate(ctx, lookup.Round{LookupID: l.ID, Now: c.now, Rows: []lookup.Row{late}})
	c.check(err)
	told, err := c.s.ClaimMessage(ctx, lookup.Message{LookupID: l.ID, NumberIndex: c.index(), Now: c.now, PerDay: 1})
	c.check(err)
	if !told {
		c.Fatal("no message")
	}
	_, err = c.s.Get(ctx, c.subject(), l.ID)
	c.check(err)
	var tally coverage.Tally
	tally.Add(platform.Answer{State: platform.Bound})
	c.check(c.s.FlushTallies(ctx, map[coverage.Cell]coverage.Tally{{Platform: "canary-platform", Day: coverage.DayOf(c.now)}: tally}))
	c.check(c.s.PutPlatform(ctx, platform.Entry{ID: "canary-platform"}))
}

// unbind drives an order into every state that a platform or a person gives it.
func (c *canary) unbind() {
	ctx := c.Context()
	refusal := platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_DEBT", RefusalText: canaryRefusal, Time: c.now}
	action := platform.Report{Stage: platform.StageActionRequired, ActionURL: canaryURL, Time: c.now}
	for i := range 3 {
		o := unbind.New(seal.NewID(c.now), c.now, c.now.Add(time.Hour), unbind.Order{
			Platform: "canary-platform", Subject: c.subject(), NumberIndex: c.index(), Number: c.number, AccountRefs: []string{canaryRef}, BoundBefore: c.now,
		})
		_, err := c.s.Enqueue(ctx, unbind.Enqueue{
			Subject: c.subject(), NumberIndex: c.index(), RequestKey: [32]byte(seal.Token(32)), Now: c.now,
			Items: []unbind.Item{{Platform: "canary-platform", Order: &o}, {Platform: "other", Reason: fault.NotLookedUp}},
		})
		c.check(err)
		if i == 0 {
			_, err = c.s.Cancel(ctx, c.subject(), o.ID, unbind.CancelledByPerson(c.now))
			c.check(err)
			continue
		}
		claims, _, err := c.s.Claim(ctx, unbind.ClaimRequest{Now: c.now, Lease: time.Hour, Max: 1, Free: func(platform.ID) int { return 1 }})
		c.check(err)
		a := unbind.Attempt{Began: c.now, Ended: c.now}
		_, err = c.s.Finish(ctx, claims[0], unbind.Answered(a, action, c.now.Add(time.Hour)))
		c.check(err)
		if i == 1 {
			_, _, err = c.s.Report(ctx, "canary-platform", o.ID, unbind.Reported(c.now, refusal, time.Time{}))
			c.check(err)
		}
	}
	orders, err := c.s.OrdersOf(ctx, c.subject(), "", 10)
	c.check(err)
	refused, asked := 0, 0
	for _, o := range orders {
		if o.RefusalText == canaryRefusal {
			refused++
		}
		if o.ActionURL == canaryURL {
			asked++
		}
	}
	if len(orders) != 3 || refused != 1 || asked != 1 {
		c.Fatalf("%d orders, %d refused, %d ask for an action", len(orders), refused, asked)
	}
}
