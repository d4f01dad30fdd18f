package storetest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/verify"
)

var verifyCases = map[string]func(*fixture){
	"ResendGap":             resendGap,
	"WithdrawnCode":         withdrawnCode,
	"CodesPerDay":           codesPerDay,
	"CodesPerAddress":       codesPerAddress,
	"Tries":                 tries,
	"CodeExpiry":            codeExpiry,
	"ConfirmInParallel":     confirmInParallel,
	"WrongSuffix":           wrongSuffix,
	"VerificationRoundTrip": verificationRoundTrip,
	"SessionRoundTrip":      sessionRoundTrip,
	"SessionIdle":           sessionIdle,
	"SessionLife":           sessionLife,
}

const rightCode, wrongCode = "123456", "654321"

func (f *fixture) verification(p person, at time.Time) verify.Verification {
	v := verify.Verification{
		ID: seal.NewID(at), Number: p.number, NumberIndex: p.index, Suffix: p.suffix, Address: sum("address", "192.0.2.1"),
		Consent:    verify.Consent{Version: "1", Scopes: []string{"LOOKUP", "UNBIND"}, Recipients: []string{"a", "b"}},
		CreateTime: at, ExpireTime: at.Add(verify.DefaultLimits().CodeLife),
	}
	v.CodeDigest = sum(v.ID, rightCode)
	return v
}

// send opens a verification, which must be possible.
func (f *fixture) send(p person, at time.Time) verify.Verification {
	f.Helper()
	v := f.verification(p, at)
	f.ok(f.OpenVerification(f.ctx, v, verify.DefaultLimits()))
	return v
}

func (f *fixture) confirmation(v verify.Verification, code string, a platform.Attestation, at time.Time) verify.Confirmation {
	return verify.Confirmation{ID: v.ID, CodeDigest: sum(v.ID, code), Attestation: a, Now: at, Session: verify.Session{
		Key: [32]byte(seal.Token(32)), Subject: sum("subject", v.ID), Number: v.Number, NumberIndex: v.NumberIndex, Suffix: v.Suffix,
		HolderSince: f.now.Add(-1000 * time.Hour), Consent: verify.Consent{Version: "1", Scopes: v.Consent.Scopes},
		CreateTime: at, ExpireTime: at.Add(verify.DefaultLimits().SessionLife),
	}}
}

func (f *fixture) try(v verify.Verification, code string, a platform.Attestation, at time.Time) verify.Verdict {
	f.Helper()
	verdict, err := f.Confirm(f.ctx, f.confirmation(v, code, a, at), verify.DefaultLimits())
	f.ok(err)
	return verdict
}

// session opens a session at a time.
func (f *fixture) session(p person, at time.Time) verify.Session {
	f.Helper()
	v := f.verification(p, at)
	l := verify.DefaultLimits()
	l.Resend, l.CodesPerDay = 0, 0
	f.ok(f.OpenVerification(f.ctx, v, l))
	c := f.confirmation(v, rightCode, platform.AttestMatch, at)
	c.Session.Subject = p.subject
	verdict, err := f.Confirm(f.ctx, c, l)
	f.ok(err)
	if !verdict.OK {
		f.Fatal("the right code was refused")
	}
	return c.Session
}

func resendGap(f *fixture) {
	l := verify.DefaultLimits()
	f.send(f.alice(), f.now)
	f.reopen()
	e := f.fault(f.OpenVerification(f.ctx, f.verification(f.alice(), f.now.Add(59*time.Second)), l), fault.CodeResendTooSoon)
	f.same("retry", e.RetryAfter, time.Second)
	f.send(f.bob(), f.now)
	// The gap is the number's, not the person's.
	f.refused(f.OpenVerification(f.ctx, f.verification(f.carol(), f.now), l), fault.CodeResendTooSoon)
	f.send(f.alice(), f.now.Add(l.Resend))
}

func withdrawnCode(f *fixture) {
	v := f.send(f.alice(), f.now)
	f.ok(f.WithdrawVerification(f.ctx, v.ID))
	f.ok(f.WithdrawVerification(f.ctx, v.ID)) // once more is no harm
	f.reopen()
	_, err := f.GetVerification(f.ctx, v.ID, f.now, verify.DefaultLimits())
	f.refused(err, fault.VerificationFailed)
	if f.try(v, rightCode, platform.AttestMatch, f.now).OK {
		f.Fatal("a withdrawn code opened a session")
	}
	f.send(f.alice(), f.now)
}

func codesPerDay(f *fixture) {
	l := verify.DefaultLimits()
	at := f.now
	for range l.CodesPerDay {
		f.send(f.alice(), at)
		at = at.Add(l.Resend)
	}
	f.reopen()
	e := f.fault(f.OpenVerification(f.ctx, f.verification(f.alice(), at), l), fault.DailyLimit)
	f.same("retry", e.RetryAfter, f.now.Add(24*time.Hour).Sub(at))
	f.send(f.bob(), at)
	f.send(f.alice(), f.now.Add(24*time.Hour))
}

func codesPerAddress(f *fixture) {
	l := verify.DefaultLimits()
	l.AddressPerDay = 2
	f.send(f.alice(), f.now)
	// A code that was not sent counts for the address all the same.
	f.ok(f.WithdrawVerification(f.ctx, f.send(f.bob(), f.now).ID))
	f.reopen()
	f.refused(f.OpenVerification(f.ctx, f.verification(f.bob(), f.now), l), fault.DailyLimit)
	elsewhere := f.verification(f.bob(), f.now)
	elsewhere.Address = sum("address", "192.0.2.2")
	f.ok(f.OpenVerification(f.ctx, elsewhere, l))
}

// tries: five wrong codes per number and window, whichever code they are for.
func tries(f *fixture) {
	l := verify.DefaultLimits()
	first := f.send(f.alice(), f.now)
	for left := 4; left >= 2; left-- {
		f.same("verdict", f.try(first, wrongCode, platform.AttestMatch, f.now), verify.Verdict{AttemptsLeft: left})
	}
	f.reopen()
	at := f.now.Add(l.Resend)
	second := f.send(f.alice(), at)
	f.same("verdict", f.try(second, wrongCode, platform.AttestMatch, at), verify.Verdict{AttemptsLeft: 1})
	f.same("verdict", f.try(first, wrongCode, platform.AttestMatch, at), verify.Verdict{RetryAfter: l.CodeLife})
	f.reopen()
	for _, v := range []verify.Verification{first, second} {
		f.same("sixth try", f.try(v, rightCode, platform.AttestMatch, at), verify.Verdict{RetryAfter: l.CodeLife})
		_, err := f.GetVerification(f.ctx, v.ID, at, l)
		f.same("attemptsLeft", f.fault(err, fault.VerificationFailed).Metadata["attemptsLeft"], "0")
	}
	at = at.Add(l.Resend)
	e := f.fault(f.OpenVerification(f.ctx, f.verification(f.alice(), at), l), fault.CodeResendTooSoon)
	f.same("retry", e.RetryAfter, second.ExpireTime.Sub(at))
	third := f.send(f.alice(), second.ExpireTime)
	f.same("a new window", f.try(third, wrongCode, platform.AttestMatch, third.CreateTime), verify.Verdict{AttemptsLeft: 4})
}

func codeExpiry(f *fixture) {
	v, w := f.send(f.alice(), f.now), f.send(f.bob(), f.now)
	f.reopen()
	if f.try(v, rightCode, platform.AttestMatch, v.ExpireTime).OK {
		f.Error("a code was good when it expired")
	}
	_, err := f.GetVerification(f.ctx, v.ID, v.ExpireTime, verify.DefaultLimits())
	f.refused(err, fault.VerificationFailed)
	if !f.try(w, rightCode, platform.AttestMatch, w.ExpireTime.Add(-1)).OK {
		f.Error("a code was not good until it expired")
	}
}

func confirmInParallel(f *fixture) {
	v := f.send(f.alice(), f.now)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			verdict, err := f.Confirm(f.ctx, f.confirmation(v, rightCode, platform.AttestMatch, f.now), verify.DefaultLimits())
			if err != nil {
				f.Error(err)
			}
			if verdict.OK {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		f.Fatalf("%d of 100 confirms won, want 1", won.Load())
	}
	f.reopen()
	if f.try(v, rightCode, platform.AttestMatch, f.now).OK {
		f.Fatal("a code was good twice")
	}
}

// wrongSuffix: a right code with a wrong suffix looks like a wrong code, uses
// the code up and is counted by itself.
func wrongSuffix(f *fixture) {
	l := verify.DefaultLimits()
	l.SuffixPerDay, l.SuffixPerMon, l.CodesPerDay = 1, 2, 0
	v, w := f.send(f.alice(), f.now), f.send(f.bob(), f.now)
	f.same("same verdict", f.try(v, rightCode, platform.AttestMismatch, f.now), f.try(w, wrongCode, platform.AttestMatch, f.now))
	f.reopen()
	f.same("used up", f.try(v, rightCode, platform.AttestMatch, f.now), verify.Verdict{AttemptsLeft: 3})
	f.same("counted on", f.try(v, wrongCode, platform.AttestMatch, f.now), verify.Verdict{AttemptsLeft: 2})
	f.refused(f.OpenVerification(f.ctx, f.verification(f.alice(), f.now.Add(l.Resend)), l), fault.DailyLimit)
	f.ok(f.OpenVerification(f.ctx, f.verification(f.bob(), f.now.Add(l.Resend)), l))
	verdict, err := f.Confirm(f.ctx, f.confirmation(v, rightCode, platform.AttestMatch, f.now), l)
	f.ok(err) // a code that was sent before the limit was reached is of no use either
	f.same("beyond the limit", verdict.OK || verdict.AttemptsLeft > 0, false)
	_, err = f.GetVerification(f.ctx, v.ID, f.now, l)
	f.refused(err, fault.VerificationFailed)

	next := f.verification(f.alice(), f.now.Add(24*time.Hour))
	f.ok(f.OpenVerification(f.ctx, next, l))
	f.try(next, rightCode, platform.AttestMismatch, next.CreateTime)
	f.reopen()
	f.refused(f.OpenVerification(f.ctx, f.verification(f.alice(), f.now.Add(10*24*time.Hour)), l), fault.DailyLimit)
	f.ok(f.OpenVerification(f.ctx, f.verification(f.alice(), f.now.Add(30*24*time.Hour)), l))
}

func verificationRoundTrip(f *fixture) {
	v := f.send(f.alice(), f.now)
	f.reopen()
	got, err := f.GetVerification(f.ctx, v.ID, f.now, verify.DefaultLimits())
	f.ok(err)
	v.Address, v.CodeDigest = got.Address, got.CodeDigest // not given back
	f.same("verification", got, v)
	_, err = f.GetVerification(f.ctx, seal.NewID(f.now), f.now, verify.DefaultLimits())
	f.same("attemptsLeft of none", f.fault(err, fault.VerificationFailed).Metadata["attemptsLeft"], "0")
}

func sessionRoundTrip(f *fixture) {
	s := f.session(f.alice(), f.now)
	f.reopen()
	got, err := f.TouchSession(f.ctx, s.Key, f.now, time.Minute)
	f.ok(err)
	f.same("session", got, s)
	_, err = f.TouchSession(f.ctx, sum("no key"), f.now, time.Minute)
	f.refused(err, fault.SessionInvalid)
	// A code that was refused opened nothing.
	c := f.confirmation(f.send(f.bob(), f.now), wrongCode, platform.AttestMatch, f.now)
	_, err = f.Confirm(f.ctx, c, verify.DefaultLimits())
	f.ok(err)
	_, err = f.TouchSession(f.ctx, c.Session.Key, f.now, time.Minute)
	f.refused(err, fault.SessionInvalid)
}

func sessionIdle(f *fixture) {
	s := f.session(f.alice(), f.now)
	idle := 5 * time.Minute
	at := f.now
	for range 2 { // each use renews it, on disk too
		at = at.Add(idle)
		_, err := f.TouchSession(f.ctx, s.Key, at, idle)
		f.ok(err)
		f.reopen()
	}
	_, err := f.TouchSession(f.ctx, s.Key, at.Add(idle+1), idle)
	f.refused(err, fault.SessionInvalid)
}

func sessionLife(f *fixture) {
	s := f.session(f.alice(), f.now)
	for at := f.now; at.Before(s.ExpireTime); at = at.Add(4 * time.Minute) {
		_, err := f.TouchSession(f.ctx, s.Key, at, 5*time.Minute)
		f.ok(err)
	}
	f.reopen()
	_, err := f.TouchSession(f.ctx, s.Key, s.ExpireTime.Add(-1), 5*time.Minute)
	f.ok(err)
	_, err = f.TouchSession(f.ctx, s.Key, s.ExpireTime, 5*time.Minute)
	f.refused(err, fault.SessionInvalid)
}
