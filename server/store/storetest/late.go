package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// running is a lookup that was just created, with rows for the ids, all pending,
// which the hub looks at after a minute unless it ends before.
func (f *fixture) running(p person, ids ...platform.ID) lookup.Lookup {
	f.Helper()
	l := f.lookup(p, f.now)
	l.Number, l.WakeTime, l.Rows = p.number, f.now.Add(time.Minute), nil
	for _, id := range ids {
		l.Rows = append(l.Rows, lookup.Row{Platform: id, State: platform.Pending})
	}
	f.ask(l, f.admission(f.session(p, f.now), f.now, 0, 0))
	return l
}

// silent is a lookup that ended with every platform silent; each is due again
// after its number of minutes.
func (f *fixture) silent(p person, minutes int, ids ...platform.ID) lookup.Lookup {
	f.Helper()
	l := f.running(p, ids...)
	l.Complete, l.Revision, l.WakeTime = true, 9, l.FinalBy
	for i := range l.Rows {
		l.Rows[i].State, l.Rows[i].ReaskTime = platform.Silent, f.minute(minutes)
	}
	f.ok(f.Merge(f.ctx, l))
	return l
}

func (f *fixture) minute(n int) time.Time { return f.now.Add(time.Duration(n) * time.Minute) }

// due is what is due at a time with room for n lookups of each platform.
func (f *fixture) due(at time.Time, n int, busy ...string) ([]lookup.Due, time.Time) {
	f.Helper()
	due, next, err := f.DueReasks(f.ctx, lookup.DueRequest{
		Now: at, Free: func(platform.ID) int { return n }, Busy: func(id string) bool { return slices.Contains(busy, id) },
	})
	f.ok(err)
	return due, next
}

// nothingDue wants nothing to be due, ever.
func (f *fixture) nothingDue() {
	f.Helper()
	due, next := f.due(f.now.Add(1000*time.Hour), 100)
	if len(due) > 0 || !next.IsZero() {
		f.Fatalf("%d lookups are due, the next %v", len(due), next)
	}
}

func answered(id platform.ID, at time.Time) lookup.Row {
	return lookup.Row{Platform: id, State: platform.Bound, AnswerTime: at, Accounts: []platform.Account{{Ref: "r", Product: "商店", Period: platform.BeforeHolder}}}
}

func (f *fixture) round(l lookup.Lookup, at time.Time, rows ...lookup.Row) lookup.Lookup {
	f.Helper()
	got, err := f.MergeLate(f.ctx, lookup.Round{LookupID: l.ID, Now: at, Rows: rows})
	f.ok(err)
	return got
}

func lateRound(f *fixture) {
	a := f.alice()
	l := f.silent(a, 5, "shop", "video")
	f.reopen()
	due, next := f.due(f.minute(4), 9)
	f.same("due before its time", len(due), 0)
	f.same("next", next.Equal(f.minute(5)), true)
	due, _ = f.due(f.minute(5), 9)
	f.same("due", len(due), 1)
	f.same("platforms", due[0].Platforms, []platform.ID{"shop", "video"})
	f.same("lookup", due[0].Lookup, l)

	got := f.round(l, f.minute(5), answered("shop", f.minute(5)), lookup.Row{Platform: "video", State: platform.Silent, Reasks: 1, ReaskTime: f.minute(7)})
	f.reopen()
	stored, err := f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.same("what the round returned", got, stored)
	f.same("revision", stored.Revision, l.Revision+1)
	f.same("complete", stored.Complete, true)
	f.same("state", stored.Rows[0].State, platform.Bound)
	f.same("accounts", stored.Rows[0].Accounts, answered("shop", f.now).Accounts)
	f.same("gap", stored.Rows[1].Reasks, 1)
	due, next = f.due(f.minute(6), 9)
	f.same("due again", len(due), 0)
	f.same("next", next.Equal(f.minute(7)), true)

	// An answer to a row that is not silent any more, or unknown, changes nothing.
	again := answered("shop", f.minute(6))
	again.State, again.Accounts = platform.NotBound, nil
	got = f.round(l, f.minute(6), again, answered("other", f.minute(6)))
	f.same("after a repeat", got, stored)
	f.same("a lookup that is gone", f.round(f.lookup(a, f.now), f.now), lookup.Lookup{})
}

func lateSettlesACrash(f *fixture) {
	a := f.alice()
	l := f.running(a, "shop", "video")
	f.reopen()
	due, next := f.due(f.now, 9)
	f.same("due before its time", len(due), 0)
	f.same("next", next.Equal(f.minute(1)), true)
	due, _ = f.due(f.minute(1), 9)
	f.same("due", len(due), 1)
	f.same("as a whole", due[0].Platforms, []platform.ID{""})
	got := f.round(l, f.minute(1))
	f.reopen()
	f.same("settled", got.Complete, true)
	if got.Revision <= l.Revision+len(l.Rows) {
		f.Fatalf("revision %d may have been shown before", got.Revision)
	}
	for _, r := range got.Rows {
		f.same("state", r.State, platform.Silent)
	}
	due, _ = f.due(f.minute(1), 9)
	f.same("due", len(due), 1)
	f.same("platforms", due[0].Platforms, []platform.ID{"shop", "video"})
}

// lateIndexIsExact: whatever happens to a lookup, it is in the index where its
// record says and nowhere else.
func lateIndexIsExact(f *fixture) {
	a := f.alice()
	l := f.silent(a, 5, "shop", "video")
	for i := range 3 {
		l = f.round(l, f.minute(5+i), lookup.Row{Platform: "shop", State: platform.Silent, Reasks: i, ReaskTime: f.minute(6 + i)})
	}
	f.reopen()
	due, next := f.due(f.minute(7), 9)
	f.same("due", len(due), 1)
	f.same("platforms", due[0].Platforms, []platform.ID{"video"})
	f.same("next", next.Equal(f.minute(8)), true)
	l = f.round(l, f.minute(8), answered("shop", f.now), answered("video", f.now))
	f.same("owes a message", l.OwesMessage(), true)
	due, _ = f.due(f.minute(8), 9)
	f.same("due", len(due), 1)
	f.same("as a whole", due[0].Platforms, []platform.ID{""})
	_, err := f.MergeLate(f.ctx, lookup.Round{LookupID: l.ID, Now: f.minute(8), Stop: true})
	f.ok(err)
	f.reopen()
	f.nothingDue()
}

// lateRoom: a platform gets as many as it has room for, the oldest first, and a
// backlog of one is no hindrance to another.
func lateRoom(f *fixture) {
	a := f.alice()
	var old []lookup.Lookup
	for i := range 5 {
		old = append(old, f.silent(a, 5+i, "shop"))
	}
	both := f.silent(a, 20, "shop", "video")
	f.reopen()
	at := f.minute(30)
	due, next := f.due(at, 2, old[1].ID)
	got := make(map[string][]platform.ID)
	for _, d := range due {
		got[d.Lookup.ID] = d.Platforms
	}
	f.same("due", got, map[string][]platform.ID{old[0].ID: {"shop"}, old[2].ID: {"shop"}, both.ID: {"video"}})
	f.same("next is over already", next.Equal(f.minute(8)), true)
	due, next, err := f.DueReasks(f.ctx, lookup.DueRequest{
		Now: at, Busy: func(string) bool { return false },
		Free: func(id platform.ID) int { return map[platform.ID]int{"video": 1}[id] },
	})
	f.ok(err)
	f.same("one platform has room", len(due), 1)
	f.same("the one", due[0].Lookup.ID, both.ID)
	f.same("the others say nothing", next.IsZero(), true)
}

// lateEnds: past its final time a lookup changes no more, and when it is purged
// nothing of it is left.
func lateEnds(f *fixture) {
	a := f.alice()
	l := f.silent(a, 5, "shop")
	due, _ := f.due(l.FinalBy, 9)
	f.same("due", len(due), 1)
	f.same("also as a whole", due[0].Platforms, []platform.ID{"", "shop"})
	got := f.round(l, l.FinalBy, answered("shop", l.FinalBy))
	f.same("revision", got.Revision, l.Revision)
	f.same("state", got.Rows[0].State, platform.Silent)
	f.same("the number", got.Number, phone.Number{})
	f.reopen()
	f.nothingDue()

	f.silent(a, 5, "shop") // purged before anybody looked at it
	purge := f.now.Add(49 * time.Hour)
	_, err := f.Sweep(f.ctx, purge, 1000)
	f.ok(err)
	due, next := f.due(purge, 9)
	f.same("due", len(due), 0)
	f.same("next", next.IsZero(), true)
	f.reopen()
	f.nothingDue()
}

func (f *fixture) message(p person, l lookup.Lookup, at time.Time, perDay int) bool {
	f.Helper()
	ok, err := f.ClaimMessage(f.ctx, lookup.Message{LookupID: l.ID, NumberIndex: p.index, Now: at, PerDay: perDay})
	f.ok(err)
	return ok
}

func lateMessageOnce(f *fixture) {
	a := f.alice()
	l := f.silent(a, 5, "shop", "video")
	f.same("while one is silent", f.message(a, l, f.minute(5), 0), false)
	f.round(l, f.minute(5), answered("shop", f.now))
	f.same("while one is silent", f.message(a, l, f.minute(5), 0), false)
	f.round(l, f.minute(6), answered("video", f.now))
	f.reopen()
	var all sync.WaitGroup
	told := make(chan bool, 20)
	for range cap(told) {
		all.Go(func() {
			ok, err := f.ClaimMessage(f.ctx, lookup.Message{LookupID: l.ID, NumberIndex: a.index, Now: f.minute(6)})
			if err != nil {
				f.Error(err)
			}
			told <- ok
		})
	}
	all.Wait()
	close(told)
	n := 0
	for ok := range told {
		if ok {
			n++
		}
	}
	f.same("claims", n, 1)
	f.reopen()
	f.same("after a restart", f.message(a, l, f.minute(7), 0), false)
	stored, err := f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.same("the number", stored.Number, phone.Number{})
	f.nothingDue()
	f.same("unknown lookup", f.message(a, f.lookup(a, f.now), f.now, 0), false)
}

func lateMessagesPerDay(f *fixture) {
	a, c, b := f.alice(), f.carol(), f.bob()
	owing := func(p person) lookup.Lookup {
		l := f.silent(p, 5, "shop")
		return f.round(l, f.minute(5), answered("shop", f.now))
	}
	f.same("the first", f.message(a, owing(a), f.now, 2), true)
	f.reopen()
	f.same("the second, of another person", f.message(c, owing(c), f.now, 2), true)
	over := owing(a)
	f.same("the third", f.message(a, over, f.now, 2), false)
	f.same("another number", f.message(b, owing(b), f.now, 2), true)
	f.reopen()
	f.same("a refused one comes back on no day", f.message(a, over, f.now.Add(25*time.Hour), 2), false)
	f.same("the next day", f.message(a, owing(a), f.now.Add(25*time.Hour), 2), true)
	f.nothingDue()
}

// lateOldRecord: a lookup without a number, as older hubs wrote it, is never
// asked about again and is no error.
func lateOldRecord(f *fixture) {
	a := f.alice()
	l := f.lookup(a, f.now)
	f.ask(l, f.admission(f.session(a, f.now), f.now, 0, 0))
	f.nothingDue()
	l.Complete, l.Revision, l.Rows[0].State = true, 3, platform.Silent
	f.ok(f.Merge(f.ctx, l))
	f.reopen()
	f.nothingDue()
	got := f.round(l, f.now, answered("shop", f.now))
	f.same("state", got.Rows[0].State, platform.Silent)
	f.same("revision", got.Revision, 3)
	f.same("message", f.message(a, l, f.now, 0), false)
}

// mergeGoesForward: who comes late with an older revision changes nothing.
func mergeGoesForward(f *fixture) {
	a := f.alice()
	l := f.silent(a, 5, "shop")
	late := f.round(l, f.minute(5), answered("shop", f.now))
	f.ok(f.Merge(f.ctx, l))
	l.Revision = late.Revision
	f.ok(f.Merge(f.ctx, l))
	f.reopen()
	got, err := f.Get(f.ctx, a.subject, l.ID)
	f.ok(err)
	f.same("lookup", got, late)
}
