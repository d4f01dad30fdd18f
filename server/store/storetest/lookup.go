package storetest

import (
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/verify"
)

var lookupCases = map[string]func(*fixture){
	"LookupRoundTrip":        lookupRoundTrip,
	"LookupsPerSession":      lookupsPerSession,
	"LookupsPerNumberAndDay": lookupsPerNumber,
	"LookupRequestID":        lookupRequestID,
	"LookupRepeatInParallel": lookupRepeatInParallel,
	"LookupWithoutSession":   lookupWithoutSession,
	"LateRound":              lateRound,
	"LateSettlesACrash":      lateSettlesACrash,
	"LateIndexIsExact":       lateIndexIsExact,
	"LateRoom":               lateRoom,
	"LateEnds":               lateEnds,
	"LateMessageOnce":        lateMessageOnce,
	"LateMessagesPerDay":     lateMessagesPerDay,
	"LateOldRecord":          lateOldRecord,
	"MergeGoesForward":       mergeGoesForward,
}

func (f *fixture) lookup(p person, at time.Time) lookup.Lookup {
	return lookup.Lookup{
		ID: seal.NewID(at), Subject: p.subject, HolderSince: at.Add(-2000 * time.Hour), CreateTime: at, FinalBy: at.Add(24 * time.Hour), Revision: 1,
		Rows: []lookup.Row{
			{Platform: "shop", DisplayName: "商店", Category: "网上购物", Functions: platform.FunctionLookup, SelfServiceURL: "https://shop.example/", State: platform.Pending},
			{Platform: "video", DisplayName: "视频", Category: "短视频", State: platform.NotJoined},
		},
	}
}

// admission lets n lookups per session and m per number and day through.
func (f *fixture) admission(s verify.Session, at time.Time, n, m int) lookup.Admission {
	return lookup.Admission{
		SessionKey: s.Key, NumberIndex: s.NumberIndex, Now: at, ForgetTime: at.Add(48 * time.Hour),
		Limits: lookup.Limits{PerSession: n, PerNumberDay: m},
	}
}

// ask creates a lookup, which must be possible, and returns its id.
func (f *fixture) ask(l lookup.Lookup, a lookup.Admission) string {
	f.Helper()
	id, err := f.Create(f.ctx, l, a)
	f.ok(err)
	return id
}

func lookupRoundTrip(f *fixture) {
	a := f.alice()
	l := f.lookup(a, f.now)
	f.same("id", f.ask(l, f.admission(f.session(a, f.now), f.now, 0, 0)), l.ID)
	f.reopen()
	got, err := f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.same("lookup", got, l)

	l.Complete, l.Revision = true, 3
	l.Rows[0].State, l.Rows[0].AnswerTime = platform.Bound, f.now
	l.Rows[0].Accounts = []platform.Account{{Ref: "r1", Product: "商店", Period: platform.BeforeHolder}, {Ref: "r2", Period: platform.SinceHolder}}
	f.ok(f.Merge(f.ctx, l))
	f.reopen()
	got, err = f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.same("merged lookup", got, l)

	_, err = f.Get(f.ctx, f.carol().subject, l.ID) // the next holder of the number
	f.refused(err, fault.LookupNotFound)
	unknown := f.lookup(a, f.now)
	f.ok(f.Merge(f.ctx, unknown))
	_, err = f.Get(f.ctx, a.subject, unknown.ID)
	f.refused(err, fault.LookupNotFound)
}

func lookupsPerSession(f *fixture) {
	a := f.alice()
	s, other := f.session(a, f.now), f.session(a, f.now)
	for range 2 {
		f.ask(f.lookup(a, f.now), f.admission(s, f.now, 2, 0))
		f.reopen()
	}
	refused := f.lookup(a, f.now)
	_, err := f.Create(f.ctx, refused, f.admission(s, f.now.Add(time.Minute), 2, 0))
	f.same("retry", f.fault(err, fault.LookupRate).RetryAfter, 14*time.Minute)
	_, err = f.Get(f.ctx, a.subject, refused.ID)
	f.refused(err, fault.LookupNotFound)
	f.ask(f.lookup(a, f.now), f.admission(other, f.now, 2, 0))
	_, err = f.TouchSession(f.ctx, s.Key, f.now, time.Minute) // counting harmed it not
	f.ok(err)
}

func lookupsPerNumber(f *fixture) {
	a, c := f.alice(), f.carol()
	s, next := f.session(a, f.now), f.session(c, f.now)
	f.ask(f.lookup(a, f.now), f.admission(s, f.now, 0, 2))
	f.reopen()
	f.ask(f.lookup(c, f.now), f.admission(next, f.now.Add(time.Hour), 0, 2)) // another person, the same number
	_, err := f.Create(f.ctx, f.lookup(a, f.now), f.admission(s, f.now.Add(2*time.Hour), 0, 2))
	f.same("retry", f.fault(err, fault.LookupRate).RetryAfter, 22*time.Hour)
	f.ask(f.lookup(a, f.now), f.admission(f.session(f.bob(), f.now), f.now, 0, 2))
	tomorrow := f.now.Add(24 * time.Hour)
	f.ask(f.lookup(a, tomorrow), f.admission(f.session(a, tomorrow), tomorrow, 0, 2))
}

func lookupRequestID(f *fixture) {
	a := f.alice()
	s := f.session(a, f.now)
	adm := f.admission(s, f.now, 1, 1)
	adm.RequestKey, adm.BodyDigest = sum("request", "1"), sum("body", "1")
	first := f.ask(f.lookup(a, f.now), adm)
	f.reopen()
	for range 3 { // a repeat counts nothing
		f.same("repeat", f.ask(f.lookup(a, f.now), adm), first)
	}
	other := adm
	other.BodyDigest = sum("body", "2")
	_, err := f.Create(f.ctx, f.lookup(a, f.now), other)
	f.refused(err, fault.RequestIDReused)

	// A refused request does not use its id up.
	fresh := adm
	fresh.RequestKey = sum("request", "2")
	_, err = f.Create(f.ctx, f.lookup(a, f.now), fresh)
	f.refused(err, fault.LookupRate)
	f.reopen()
	fresh.Limits, fresh.BodyDigest = lookup.Limits{}, sum("body", "3")
	l := f.lookup(a, f.now)
	f.same("second time", f.ask(l, fresh), l.ID)

	// After 24 h the id is free again.
	late := f.lookup(a, f.now)
	fresh.Now = f.now.Add(24 * time.Hour)
	f.same("next day", f.ask(late, fresh), late.ID)
}

func lookupRepeatInParallel(f *fixture) {
	a := f.alice()
	adm := f.admission(f.session(a, f.now), f.now, 1, 1)
	adm.RequestKey, adm.BodyDigest = sum("request"), sum("body")
	ids := make([]string, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, err := f.Create(f.ctx, f.lookup(a, f.now), adm)
			if err != nil {
				f.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		f.same("id", id, ids[0])
	}
}

func lookupWithoutSession(f *fixture) {
	a := f.alice()
	_, err := f.Create(f.ctx, f.lookup(a, f.now), f.admission(verify.Session{Key: sum("none"), NumberIndex: a.index}, f.now, 0, 0))
	f.refused(err, fault.SessionInvalid)
}
