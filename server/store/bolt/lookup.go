package bolt

import (
	"bytes"
	"context"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

var _ lookup.Store = (*Store)(nil)

// Create implements lookup.Store.
func (s *Store) Create(ctx context.Context, l lookup.Lookup, a lookup.Admission) (string, error) {
	sealed, err := s.lookupRecord(l) // before the transaction, where others would wait for it
	if err != nil {
		return "", err
	}
	id := l.ID
	err = s.db.Update(ctx, func(tx *group.Tx) error {
		before, err := repeated(tx, a.RequestKey, a.BodyDigest, a.Now)
		if err != nil {
			return err
		}
		if before != nil {
			id = before.GetLookupId()
			return nil
		}
		if err := admitLookup(tx, a); err != nil {
			return err
		}
		if err := expires(tx, a.ForgetTime, bucketLookups, []byte(l.ID)); err != nil {
			return err
		}
		if err := remember(tx, a.RequestKey, a.Now, &recordv1.Request{BodyDigest: a.BodyDigest[:], LookupId: l.ID}); err != nil {
			return err
		}
		if err := moveWakes(tx, l.ID, nil, l.Wakes()); err != nil {
			return err
		}
		return save(tx, bucketLookups, []byte(l.ID), sealed)
	})
	return id, err
}

// admitLookup checks and counts per session and per number.
func admitLookup(tx *group.Tx, a lookup.Admission) error {
	r := new(recordv1.Session)
	found, err := load(tx, bucketSessions, a.SessionKey[:], r)
	if err != nil {
		return err
	}
	if !found {
		return fault.SessionInvalid.New()
	}
	if a.Limits.PerSession > 0 && int(r.GetLookups()) >= a.Limits.PerSession {
		return fault.LookupRate.New().WithRetry(moment(r.GetExpireTime()).Sub(a.Now))
	}
	n, end, err := used(tx, countLookups, a.NumberIndex[:], a.Now)
	if err != nil {
		return err
	}
	if a.Limits.PerNumberDay > 0 && n >= a.Limits.PerNumberDay {
		return fault.LookupRate.New().WithRetry(end.Sub(a.Now))
	}
	r.Lookups++
	if err := save(tx, bucketSessions, a.SessionKey[:], r); err != nil {
		return err
	}
	return count(tx, countLookups, a.NumberIndex[:], a.Now, day, 1)
}

// Merge implements lookup.Store.
func (s *Store) Merge(ctx context.Context, l lookup.Lookup) error {
	sealed, err := s.lookupRecord(l)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *group.Tx) error {
		r := new(recordv1.Lookup)
		found, err := load(tx, bucketLookups, []byte(l.ID), r)
		if err != nil || !found || int(r.GetRevision()) >= l.Revision {
			return err
		}
		before, err := s.wakesOf(l.ID, r)
		if err != nil {
			return err
		}
		if err := moveWakes(tx, l.ID, before, l.Wakes()); err != nil {
			return err
		}
		return save(tx, bucketLookups, []byte(l.ID), sealed)
	})
}

// Get implements lookup.Store.
func (s *Store) Get(ctx context.Context, subject phone.Subject, id string) (lookup.Lookup, error) {
	var l lookup.Lookup
	err := s.db.View(ctx, func(tx *group.Tx) error {
		r := new(recordv1.Lookup)
		found, err := load(tx, bucketLookups, []byte(id), r)
		if err != nil {
			return err
		}
		if !found || !bytes.Equal(r.GetSubject(), subject[:]) {
			return fault.LookupNotFound.New()
		}
		l, err = s.lookupFrom(id, r)
		return err
	})
	return l, err
}

func (s *Store) lookupRecord(l lookup.Lookup) (*recordv1.Lookup, error) {
	secret := &recordv1.LookupSecret{HolderSince: stamp(l.HolderSince), PhoneNumber: l.Number.E164()}
	for _, r := range l.Rows {
		row := &recordv1.LookupAnswer{
			PlatformId: string(r.Platform), DisplayName: r.DisplayName, Category: r.Category, State: int32(r.State),
			Functions: uint32(r.Functions), SelfServiceUrl: r.SelfServiceURL, AnswerTime: stamp(r.AnswerTime),
			Reasks: int32(r.Reasks), ReaskTime: stamp(r.ReaskTime),
		}
		for _, a := range r.Accounts {
			row.Accounts = append(row.Accounts, &recordv1.LookupAccount{AccountRef: a.Ref, Product: a.Product, Period: int32(a.Period)})
		}
		secret.Answers = append(secret.Answers, row)
	}
	sealed, err := s.sealFor(bucketLookups, []byte(l.ID), secret)
	if err != nil {
		return nil, err
	}
	return &recordv1.Lookup{
		Subject: l.Subject[:], CreateTime: stamp(l.CreateTime), FinalBy: stamp(l.FinalBy), Complete: l.Complete,
		Revision: int32(l.Revision), WakeTime: stamp(l.WakeTime), Sealed: sealed,
	}, nil
}

func (s *Store) lookupFrom(id string, r *recordv1.Lookup) (lookup.Lookup, error) {
	secret := new(recordv1.LookupSecret)
	if err := s.openFor(bucketLookups, []byte(id), r.GetSealed(), secret); err != nil {
		return lookup.Lookup{}, err
	}
	l := lookup.Lookup{
		ID: id, Subject: phone.Subject(r.GetSubject()), HolderSince: moment(secret.GetHolderSince()),
		CreateTime: moment(r.GetCreateTime()), FinalBy: moment(r.GetFinalBy()), Complete: r.GetComplete(), Revision: int(r.GetRevision()),
		WakeTime: moment(r.GetWakeTime()),
	}
	if secret.GetPhoneNumber() != "" {
		var err error
		if l.Number, err = phone.ParseNumber(secret.GetPhoneNumber()); err != nil {
			return lookup.Lookup{}, err
		}
	}
	for _, a := range secret.GetAnswers() {
		row := lookup.Row{
			Platform: platform.ID(a.GetPlatformId()), DisplayName: a.GetDisplayName(), Category: a.GetCategory(),
			Functions: platform.Functions(a.GetFunctions()), SelfServiceURL: a.GetSelfServiceUrl(),
			State: platform.State(a.GetState()), AnswerTime: moment(a.GetAnswerTime()),
			Reasks: int(a.GetReasks()), ReaskTime: moment(a.GetReaskTime()),
		}
		for _, x := range a.GetAccounts() {
			row.Accounts = append(row.Accounts, platform.Account{Ref: x.GetAccountRef(), Product: x.GetProduct(), Period: platform.Period(x.GetPeriod())})
		}
		l.Rows = append(l.Rows, row)
	}
	return l, nil
}
