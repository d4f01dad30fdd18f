package bolt

import (
	"context"
	"crypto/subtle"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/verify"
)

var _ verify.Store = (*Store)(nil)

const month = 30 * day

// OpenVerification implements verify.Store.
func (s *Store) OpenVerification(ctx context.Context, v verify.Verification, l verify.Limits) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		if err := s.noteTime(tx); err != nil {
			return err
		}
		guard, err := admitCode(tx, v, l)
		if err != nil {
			return err
		}
		if err := saveGuard(tx, v.NumberIndex, guard); err != nil {
			return err
		}
		if err := count(tx, countCodes, v.NumberIndex[:], v.CreateTime, day, 1); err != nil {
			return err
		}
		if err := count(tx, countAddress, v.Address[:], v.CreateTime, day, 1); err != nil {
			return err
		}
		return s.saveVerification(tx, v)
	})
}

// admitCode checks every limit and returns the number's guard as it is once the
// code is sent. Tries belong to the number: a new code does not renew them but
// makes their window last until it ends itself.
func admitCode(tx *group.Tx, v verify.Verification, l verify.Limits) (*recordv1.NumberGuard, error) {
	now := v.CreateTime
	g := new(recordv1.NumberGuard)
	if _, err := load(tx, bucketGuards, v.NumberIndex[:], g); err != nil {
		return nil, err
	}
	if wait := moment(g.GetLastCodeTime()).Add(l.Resend).Sub(now); g.GetLastCodeTime() != nil && wait > 0 {
		return nil, fault.CodeResendTooSoon.New().WithRetry(wait)
	}
	if wait := moment(g.GetWindowEnd()).Sub(now); g.GetWindowEnd() == nil || wait <= 0 {
		g.TriesLeft = int32(l.Tries)
	} else if g.GetTriesLeft() <= 0 {
		return nil, fault.CodeResendTooSoon.New().WithRetry(wait)
	}
	g.WindowEnd = stamp(v.ExpireTime)
	for _, c := range []struct {
		kind  string
		index []byte
		limit int
	}{
		{countCodes, v.NumberIndex[:], l.CodesPerDay},
		{countAddress, v.Address[:], l.AddressPerDay},
		{countSuffixDay, v.NumberIndex[:], l.SuffixPerDay},
		{countSuffixMon, v.NumberIndex[:], l.SuffixPerMon},
	} {
		n, end, err := used(tx, c.kind, c.index, now)
		if err != nil {
			return nil, err
		}
		if c.limit > 0 && n >= c.limit {
			return nil, fault.DailyLimit.New().WithRetry(end.Sub(now))
		}
	}
	g.LastCodeTime = stamp(now)
	g.ExpireTime = stamp(now.Add(l.Resend + l.CodeLife))
	return g, nil
}

func saveGuard(tx *group.Tx, n phone.Index, g *recordv1.NumberGuard) error {
	if err := expires(tx, moment(g.GetExpireTime()), bucketGuards, n[:]); err != nil {
		return err
	}
	return save(tx, bucketGuards, n[:], g)
}

func (s *Store) saveVerification(tx *group.Tx, v verify.Verification) error {
	k := []byte(v.ID)
	sealed, err := s.sealFor(bucketVerifications, k, holderSecret(v.Number, v.Suffix))
	if err != nil {
		return err
	}
	if err := expires(tx, v.ExpireTime, bucketVerifications, k); err != nil {
		return err
	}
	return save(tx, bucketVerifications, k, &recordv1.Verification{
		NumberIndex: v.NumberIndex[:], CreateTime: stamp(v.CreateTime), ExpireTime: stamp(v.ExpireTime), CodeDigest: v.CodeDigest[:],
		ConsentVersion: v.Consent.Version, ConsentScopes: v.Consent.Scopes, ConsentRecipients: v.Consent.Recipients, Sealed: sealed,
	})
}

// WithdrawVerification implements verify.Store. What the address did still
// counts: a sender that is down must not make it free to try.
func (s *Store) WithdrawVerification(ctx context.Context, id string) error {
	return s.db.Update(ctx, func(tx *group.Tx) error {
		v := new(recordv1.Verification)
		if found, err := load(tx, bucketVerifications, []byte(id), v); err != nil || !found {
			return err
		}
		g := new(recordv1.NumberGuard)
		if _, err := load(tx, bucketGuards, v.GetNumberIndex(), g); err != nil {
			return err
		}
		if moment(g.GetLastCodeTime()).Equal(moment(v.GetCreateTime())) { // else a later code was sent
			g.LastCodeTime = nil
		}
		if err := save(tx, bucketGuards, v.GetNumberIndex(), g); err != nil {
			return err
		}
		if err := count(tx, countCodes, v.GetNumberIndex(), moment(v.GetCreateTime()), day, -1); err != nil {
			return err
		}
		return tx.Bucket(bucketVerifications).Delete([]byte(id))
	})
}

// GetVerification implements verify.Store.
func (s *Store) GetVerification(ctx context.Context, id string, now time.Time, l verify.Limits) (verify.Verification, error) {
	var out verify.Verification
	err := s.db.View(ctx, func(tx *group.Tx) error {
		v, g, err := openTry(tx, id, now, l)
		if err != nil {
			return err
		}
		if v == nil {
			return verify.Failed(spent(g, now))
		}
		out = verify.Verification{
			ID: id, NumberIndex: phone.Index(v.GetNumberIndex()), CreateTime: moment(v.GetCreateTime()), ExpireTime: moment(v.GetExpireTime()),
			Consent: verify.Consent{Version: v.GetConsentVersion(), Scopes: v.GetConsentScopes(), Recipients: v.GetConsentRecipients()},
		}
		out.Number, out.Suffix, err = s.openHolder(bucketVerifications, []byte(id), v.GetSealed())
		return err
	})
	return out, err
}

// openTry returns a verification that can be confirmed now and its number's
// guard, or a nil verification and a guard with the tries that are left.
func openTry(tx *group.Tx, id string, now time.Time, l verify.Limits) (*recordv1.Verification, *recordv1.NumberGuard, error) {
	v, g := new(recordv1.Verification), new(recordv1.NumberGuard)
	found, err := load(tx, bucketVerifications, []byte(id), v)
	if err != nil || !found {
		return nil, g, err
	}
	if _, err := load(tx, bucketGuards, v.GetNumberIndex(), g); err != nil {
		return nil, g, err
	}
	if v.GetUsed() || !moment(v.GetExpireTime()).After(now) || g.GetTriesLeft() <= 0 {
		return nil, g, nil
	}
	if over, err := suffixesUsedUp(tx, v.GetNumberIndex(), now, l); over || err != nil {
		g.TriesLeft = 0
		return nil, g, err
	}
	return v, g, nil
}

// suffixesUsedUp reports whether too many wrong suffixes came for the number.
// Codes that were sent before that are of no more use either.
func suffixesUsedUp(tx *group.Tx, number []byte, now time.Time, l verify.Limits) (bool, error) {
	for kind, limit := range map[string]int{countSuffixDay: l.SuffixPerDay, countSuffixMon: l.SuffixPerMon} {
		n, _, err := used(tx, kind, number, now)
		if err != nil || limit > 0 && n >= limit {
			return true, err
		}
	}
	return false, nil
}

// Confirm implements verify.Store.
func (s *Store) Confirm(ctx context.Context, c verify.Confirmation, l verify.Limits) (verify.Verdict, error) {
	var verdict verify.Verdict
	err := s.db.Update(ctx, func(tx *group.Tx) error {
		if err := s.noteTime(tx); err != nil {
			return err
		}
		v, g, err := openTry(tx, c.ID, c.Now, l)
		if err != nil {
			return err
		}
		if v == nil {
			verdict = spent(g, c.Now)
			return nil
		}
		right := subtle.ConstantTimeCompare(v.GetCodeDigest(), c.CodeDigest[:]) == 1
		if right && !v.GetSuffixFailed() && c.Attestation != platform.AttestMismatch {
			verdict = verify.Verdict{OK: true, AttemptsLeft: int(g.GetTriesLeft())}
			v.Used = true
			if err := save(tx, bucketVerifications, []byte(c.ID), v); err != nil {
				return err
			}
			return s.saveSession(tx, c.Session)
		}
		g.TriesLeft--
		verdict = spent(g, c.Now)
		if err := save(tx, bucketGuards, v.GetNumberIndex(), g); err != nil {
			return err
		}
		if !right || v.GetSuffixFailed() {
			return nil
		}
		return wrongSuffix(tx, c, v)
	})
	return verdict, err
}

// spent is the verdict of a failure; with no try left it says when the number's
// window is over.
func spent(g *recordv1.NumberGuard, now time.Time) verify.Verdict {
	v := verify.Verdict{AttemptsLeft: max(int(g.GetTriesLeft()), 0)}
	if end := moment(g.GetWindowEnd()); v.AttemptsLeft == 0 && end.After(now) {
		v.RetryAfter = end.Sub(now)
	}
	return v
}

// wrongSuffix notes and counts, once, a right code that came with a wrong suffix.
// The code is good for nothing then, but further tries go on being counted, as
// those with a wrong code are.
func wrongSuffix(tx *group.Tx, c verify.Confirmation, v *recordv1.Verification) error {
	v.SuffixFailed = true
	if err := save(tx, bucketVerifications, []byte(c.ID), v); err != nil {
		return err
	}
	if err := count(tx, countSuffixDay, v.GetNumberIndex(), c.Now, day, 1); err != nil {
		return err
	}
	return count(tx, countSuffixMon, v.GetNumberIndex(), c.Now, month, 1)
}

func (s *Store) saveSession(tx *group.Tx, v verify.Session) error {
	sealed, err := s.sealFor(bucketSessions, v.Key[:], holderSecret(v.Number, v.Suffix))
	if err != nil {
		return err
	}
	if err := expires(tx, v.ExpireTime, bucketSessions, v.Key[:]); err != nil {
		return err
	}
	return save(tx, bucketSessions, v.Key[:], &recordv1.Session{
		Subject: v.Subject[:], NumberIndex: v.NumberIndex[:], CreateTime: stamp(v.CreateTime), ExpireTime: stamp(v.ExpireTime),
		LastSeenTime: stamp(v.CreateTime), HolderSince: stamp(v.HolderSince),
		ConsentVersion: v.Consent.Version, ConsentScopes: v.Consent.Scopes, Sealed: sealed,
	})
}

// touchEvery is how stale last_seen_time may be, so that a person who polls
// causes no write for each poll.
const touchEvery = 20 * time.Second

// TouchSession implements verify.Store.
func (s *Store) TouchSession(ctx context.Context, k [32]byte, now time.Time, idle time.Duration) (verify.Session, error) {
	var out verify.Session
	r := new(recordv1.Session)
	err := s.db.View(ctx, func(tx *group.Tx) error {
		if err := liveSession(tx, k, now, idle, r); err != nil {
			return err
		}
		out = verify.Session{
			Key: k, Subject: phone.Subject(r.GetSubject()), NumberIndex: phone.Index(r.GetNumberIndex()), HolderSince: moment(r.GetHolderSince()),
			Consent:    verify.Consent{Version: r.GetConsentVersion(), Scopes: r.GetConsentScopes()},
			CreateTime: moment(r.GetCreateTime()), ExpireTime: moment(r.GetExpireTime()),
		}
		var err error
		out.Number, out.Suffix, err = s.openHolder(bucketSessions, k[:], r.GetSealed())
		return err
	})
	if err != nil || now.Sub(moment(r.GetLastSeenTime())) < touchEvery {
		return out, err
	}
	return out, s.db.Update(ctx, func(tx *group.Tx) error {
		r := new(recordv1.Session)
		if err := liveSession(tx, k, now, idle, r); err != nil {
			return err
		}
		r.LastSeenTime = stamp(now)
		return save(tx, bucketSessions, k[:], r)
	})
}

func liveSession(tx *group.Tx, k [32]byte, now time.Time, idle time.Duration, r *recordv1.Session) error {
	found, err := load(tx, bucketSessions, k[:], r)
	if err != nil {
		return err
	}
	if !found || !moment(r.GetExpireTime()).After(now) || now.Sub(moment(r.GetLastSeenTime())) > idle {
		return fault.SessionInvalid.New()
	}
	return nil
}

func holderSecret(n phone.Number, x phone.IDSuffix) *recordv1.HolderSecret {
	return &recordv1.HolderSecret{PhoneNumber: n.E164(), DocumentType: string(x.Document()), IdSuffix: x.Reveal()}
}

func (s *Store) openHolder(bucket, k, sealed []byte) (phone.Number, phone.IDSuffix, error) {
	h := new(recordv1.HolderSecret)
	if err := s.openFor(bucket, k, sealed, h); err != nil {
		return phone.Number{}, phone.IDSuffix{}, err
	}
	n, err := phone.ParseNumber(h.GetPhoneNumber())
	if err != nil {
		return phone.Number{}, phone.IDSuffix{}, err
	}
	x, err := phone.ParseIDSuffix(phone.DocumentType(h.GetDocumentType()), h.GetIdSuffix())
	return n, x, err
}
