package storetest

import (
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var dayCases = map[string]func(*fixture){
	"PlatformsAtOnce":  platformsAtOnce,
	"DaysAreForgotten": daysAreForgotten,
	"UnbindDays":       unbindDays,
}

// days reads a window.
func (f *fixture) days(from, to coverage.Day) (map[coverage.Cell]coverage.Tally, map[coverage.Cell]coverage.Unbinds, coverage.Day) {
	f.Helper()
	lookups, orders := make(map[coverage.Cell]coverage.Tally), make(map[coverage.Cell]coverage.Unbinds)
	first, err := f.EachDay(f.ctx, from, to, func(c coverage.Cell, t coverage.Tally) {
		if _, twice := lookups[c]; twice {
			f.Errorf("%v comes twice", c)
		}
		lookups[c] = t
	}, func(c coverage.Cell, u coverage.Unbinds) {
		if _, twice := orders[c]; twice {
			f.Errorf("%v comes twice", c)
		}
		orders[c] = u
	})
	f.ok(err)
	return lookups, orders, first
}

// daysAreForgotten: days go when they are too old, and the counts since the first
// day stay.
func daysAreForgotten(f *fixture) {
	today := coverage.DayOf(f.now)
	var t coverage.Tally
	t.Add(platform.Answer{State: platform.NotBound})
	old, young := coverage.Cell{Platform: "p", Day: today - coverage.KeptDays}, coverage.Cell{Platform: "p", Day: today - coverage.KeptDays + 1}
	f.ok(f.FlushTallies(f.ctx, map[coverage.Cell]coverage.Tally{old: t, young: t}))
	f.sweep(f.now)
	f.reopen()
	days, _, first := f.days(today-2*coverage.KeptDays, today)
	f.same("days", days, map[coverage.Cell]coverage.Tally{young: t})
	f.same("first counted day", first, today)
	all, err := f.Tallies(f.ctx)
	f.ok(err)
	f.same("since the first day", all["p"].Asked, int64(2))
}

// unbindDays follows orders through every end and compares the days with what was
// done by hand.
func unbindDays(f *fixture) {
	long := f.now.Add(-10 * 24 * time.Hour) // taken then, due 120 h later
	dayOf := func(t time.Time) coverage.Cell { return coverage.Cell{Platform: "shop", Day: coverage.DayOf(t)} }
	want := make(map[coverage.Cell]coverage.Unbinds)
	add := func(c coverage.Cell, u coverage.Unbinds) {
		sum := want[c]
		sum.Merge(u)
		want[c] = sum
	}
	place := func(at time.Time) string {
		id := f.queued("shop", at)[0]
		add(dayOf(at), coverage.Unbinds{Taken: 1})
		add(coverage.Cell{Platform: "shop", Day: coverage.DueDay(at.Add(120 * time.Hour))}, coverage.Unbinds{Due: 1})
		return id
	}
	due := func(at time.Time) coverage.Cell {
		return coverage.Cell{Platform: "shop", Day: coverage.DueDay(at.Add(120 * time.Hour))}
	}
	end := func(stage platform.Stage, id string) {
		_, _, err := f.Report(f.ctx, "shop", id, f.reported(stage, f.now))
		f.ok(err)
	}
	ends := func(d time.Duration) (e [coverage.EndBuckets]int64) { e[coverage.EndBucket(d)] = 1; return e }

	place(f.now) // stays open
	fast, late, refused := place(f.now.Add(-time.Hour)), place(long), place(f.now.Add(-3*time.Hour))
	f.reopen()
	end(platform.StageInReview, fast)
	end(platform.StageCompleted, fast)
	end(platform.StageRefused, fast) // a repeat changes nothing
	add(dayOf(f.now), coverage.Unbinds{Completed: 1, Ends: ends(time.Hour)})
	add(due(f.now.Add(-time.Hour)), coverage.Unbinds{OnTime: 1})
	end(platform.StageCompleted, late)
	add(dayOf(f.now), coverage.Unbinds{Completed: 1, Ends: ends(240 * time.Hour)})
	end(platform.StageRefused, refused)
	add(dayOf(f.now), coverage.Unbinds{Refused: map[string]int64{"HAS_DEBT": 1}, Ends: ends(3 * time.Hour)})
	add(due(f.now.Add(-3*time.Hour)), coverage.Unbinds{OnTime: 1})

	a := f.alice()
	o := f.order(a, "shop", f.now, "r")
	f.enqueue(f.request(a, item(o)))
	_, err := f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
	f.ok(err)
	add(dayOf(f.now), coverage.Unbinds{Taken: 1, Cancelled: 1})
	add(due(f.now), coverage.Unbinds{}) // due no more

	// An appeal takes the refusal back, and the order is due anew.
	b := f.bob()
	appealed := f.order(b, "shop", f.now.Add(-4*time.Hour), "r")
	f.enqueue(f.request(b, item(appealed)))
	end(platform.StageRefused, appealed.ID)
	anew := f.now.Add(400 * time.Hour)
	_, err = f.Appeal(f.ctx, b.subject, appealed.ID, unbind.AppealedByPerson(f.now, anew, 0))
	f.ok(err)
	end(platform.StageCompleted, appealed.ID)
	add(dayOf(f.now.Add(-4*time.Hour)), coverage.Unbinds{Taken: 1})
	add(due(f.now.Add(-4*time.Hour)), coverage.Unbinds{}) // due no more
	add(dayOf(f.now), coverage.Unbinds{Completed: 1, Ends: ends(4 * time.Hour), Refused: map[string]int64{"HAS_DEBT": 0}})
	add(coverage.Cell{Platform: "shop", Day: coverage.DueDay(anew)}, coverage.Unbinds{Due: 1, OnTime: 1})

	f.reopen()
	_, got, _ := f.days(coverage.DayOf(long)-1, coverage.DayOf(f.now)+30)
	f.same("days", got, want)
}

// platformsAtOnce: many entries change in one step.
func platformsAtOnce(f *fixture) {
	obliged := coverage.DayOf(f.now).Start().UTC()
	a := platform.Entry{ID: "aa", DisplayName: "甲", AddTime: f.now, Listing: platform.Listing{NameEN: "A", WeightMilli: 1500, ObligedSince: obliged, Source: "通知"}}
	b, c := platform.Entry{ID: "bb", AddTime: f.now}, platform.Entry{ID: "cc", AddTime: f.now}
	f.ok(f.ChangePlatforms(f.ctx, []platform.Entry{a, b}, nil))
	b.Category = "网上购物"
	f.ok(f.ChangePlatforms(f.ctx, []platform.Entry{b, c}, []platform.ID{"aa", "nobody"}))
	f.reopen()
	got, err := f.Platforms(f.ctx)
	f.ok(err)
	f.same("platforms", got, []platform.Entry{b, c})
	f.ok(f.ChangePlatforms(f.ctx, []platform.Entry{a}, nil))
	got, err = f.Platforms(f.ctx)
	f.ok(err)
	f.same("platforms", got, []platform.Entry{a, b, c})
}
