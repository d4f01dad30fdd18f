package bolt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// sample fills a store with a record of every kind, through the ports alone.
type sample struct {
	*testing.T
	s    *bolt.Store
	keys *seal.Keys
	now  time.Time
}

func (f *sample) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// samplePerson is somebody with a number.
type samplePerson struct {
	number  phone.Number
	suffix  phone.IDSuffix
	index   phone.Index
	subject phone.Subject
}

func (f *sample) person(i int) samplePerson {
	f.Helper()
	n, err := phone.ParseNumber(fmt.Sprintf("138%08d", i))
	f.ok(err)
	x, err := phone.ParseIDSuffix(phone.ResidentID, fmt.Sprintf("01%04d", i%10000))
	f.ok(err)
	return samplePerson{number: n, suffix: x, index: phone.IndexOf(f.keys, n), subject: phone.SubjectOf(f.keys, n, x)}
}

// all fills everything; people order at three platforms each.
func (f *sample) all(people int) {
	f.Helper()
	ctx := f.Context()
	for _, id := range []platform.ID{"bank", "shop", "video"} {
		f.ok(f.s.PutPlatform(ctx, platform.Entry{ID: id, DisplayName: string(id), Category: "网上购物", AddTime: f.now}))
	}
	for i := range people {
		p := f.person(i)
		v := f.session(p)
		f.lookups(p, v)
		f.orders(p, "bank", "shop", "video")
	}
	f.moves()
	f.ok(f.s.FlushTallies(ctx, map[coverage.Cell]coverage.Tally{
		{Day: coverage.DayOf(f.now), Platform: "shop"}: {Asked: 3, Answered: 2, Silent: 1},
	}))
}

func (f *sample) verification(p samplePerson) verify.Verification {
	v := verify.Verification{
		ID: seal.NewID(f.now), Number: p.number, NumberIndex: p.index, Suffix: p.suffix, Address: f.keys.Sum("address", []byte("192.0.2.1")),
		Consent:    verify.Consent{Version: "1", Scopes: []string{"LOOKUP", "UNBIND"}, Recipients: []string{"shop"}},
		CreateTime: f.now, ExpireTime: f.now.Add(5 * time.Minute),
	}
	v.CodeDigest = f.keys.Sum("code", []byte(v.ID), []byte("123456"))
	return v
}

func (f *sample) session(p samplePerson) verify.Session {
	f.Helper()
	l := verify.DefaultLimits()
	l.AddressPerDay, l.Resend = 0, 0
	f.ok(f.s.OpenVerification(f.Context(), f.verification(p), l)) // stays unused
	v := f.verification(p)
	f.ok(f.s.OpenVerification(f.Context(), v, l))
	session := verify.Session{
		Key: [32]byte(seal.Token(32)), Subject: p.subject, Number: p.number, NumberIndex: p.index, Suffix: p.suffix, HolderSince: f.now.Add(-1000 * time.Hour),
		Consent: verify.Consent{Version: "1", Scopes: v.Consent.Scopes}, CreateTime: f.now, ExpireTime: f.now.Add(15 * time.Minute),
	}
	verdict, err := f.s.Confirm(f.Context(), verify.Confirmation{ID: v.ID, CodeDigest: v.CodeDigest, Attestation: platform.AttestMatch, Now: f.now, Session: session}, l)
	f.ok(err)
	if !verdict.OK {
		f.Fatal("the right code was refused")
	}
	return session
}

// lookups makes one lookup that runs, one with a silent platform, and one that
// owes a message.
func (f *sample) lookups(p samplePerson, s verify.Session) {
	f.Helper()
	for kind := range 3 {
		l := lookup.Lookup{
			ID: seal.NewID(f.now), Subject: p.subject, Number: p.number, CreateTime: f.now, FinalBy: f.now.Add(24 * time.Hour), Revision: 1,
			WakeTime: f.now.Add(time.Minute), Rows: []lookup.Row{{Platform: "shop", DisplayName: "商店", State: platform.Pending}},
		}
		_, err := f.s.Create(f.Context(), l, lookup.Admission{SessionKey: s.Key, NumberIndex: p.index, Now: f.now, ForgetTime: f.now.Add(48 * time.Hour)})
		f.ok(err)
		if kind == 0 {
			continue
		}
		l.Complete, l.Revision, l.WakeTime = true, 2, l.FinalBy
		l.Rows[0].State, l.Rows[0].ReaskTime = platform.Silent, f.now.Add(time.Hour)
		f.ok(f.s.Merge(f.Context(), l))
		if kind == 2 {
			l.Revision, l.Rows[0].State, l.Rows[0].ReaskTime = 3, platform.Bound, time.Time{}
			f.ok(f.s.Merge(f.Context(), l))
		}
	}
}

// orders takes one order at each platform, and at the first a second one for more
// accounts beside it. It returns their ids.
func (f *sample) orders(p samplePerson, at ...platform.ID) []string {
	f.Helper()
	ids := f.order(p, []string{"r1"}, at...)
	return append(ids, f.order(p, []string{"r1", "r2"}, at[0])...)
}

func (f *sample) order(p samplePerson, refs []string, at ...platform.ID) []string {
	f.Helper()
	e := unbind.Enqueue{Subject: p.subject, NumberIndex: p.index, RequestKey: [32]byte(seal.Token(32)), Now: f.now}
	var ids []string
	for _, id := range at {
		o := unbind.New(seal.NewID(f.now), f.now, f.now.Add(120*time.Hour), unbind.Order{
			Platform: id, Subject: p.subject, NumberIndex: p.index, Number: p.number, AccountRefs: refs,
			BoundBefore: f.now.Add(-3000 * time.Hour), HolderChecked: f.now,
		})
		e.Items = append(e.Items, unbind.Item{Platform: id, Order: &o})
		ids = append(ids, o.ID)
	}
	_, err := f.s.Enqueue(f.Context(), e)
	f.ok(err)
	return ids
}

// moves brings orders into every state, in turn; some stay queued.
func (f *sample) moves() {
	f.Helper()
	claims, _, err := f.s.Claim(f.Context(), unbind.ClaimRequest{Now: f.now, Lease: 24 * 3650 * time.Hour, Max: 1000, Free: func(platform.ID) int { return 1000 }})
	f.ok(err)
	a := unbind.Attempt{Began: f.now, Ended: f.now}
	later := f.now.Add(time.Hour)
	report := func(s platform.Stage) platform.Report {
		r := platform.Report{Stage: s, Time: f.now}
		switch s {
		case platform.StageActionRequired:
			r.ActionURL = "https://shop.example/go"
		case platform.StageRefused:
			r.RefusalReason, r.RefusalText = "HAS_DEBT", "先还款"
		}
		return r
	}
	turns := []unbind.Transition{
		unbind.Answered(a, report(platform.StageCompleted), time.Time{}), unbind.Answered(a, report(platform.StageRefused), time.Time{}),
		unbind.Answered(a, report(platform.StageInReview), later), unbind.Answered(a, report(platform.StageActionRequired), later),
		unbind.Retry(a, "UNAVAILABLE", later), unbind.Abandon(a, "TOO_OLD"), unbind.HolderChanged(f.now), unbind.Snooze(a, "SNOOZE", later),
	}
	for i, c := range claims {
		if i%(len(turns)+1) == len(turns) {
			f.s.Release(f.Context(), []unbind.Claim{c})
			continue
		}
		_, err := f.s.Finish(f.Context(), c, turns[i%(len(turns)+1)])
		f.ok(err)
	}
}
