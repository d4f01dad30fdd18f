//go:build chaos

package chaos

import (
	"strings"
	"testing"
)

// checkTheCheck breaks every promise in a made-up ledger and wants it found.
func checkTheCheck(t *testing.T) {
	t.Helper()
	seen := func(run int, state string, history ...string) record {
		return record{What: recSeen, Run: run, Order: "o", State: "UNBIND_STATE_" + state, History: history}
	}
	taken := record{What: recTaken, Run: 1, Person: "p", Request: "r", Platform: "x", Order: "o"}
	begin := record{What: recBegin, Run: 1, Platform: "x", Order: "o", Attempt: 1}
	finish := record{What: recFinish, Run: 1, Platform: "x", Order: "o"}
	effect := record{What: recEffect, Run: 1, Platform: "x", Order: "o", Account: "a"}
	done := seen(1, "COMPLETED", "QUEUED", "COMPLETED")
	with := func(change func(*record), r record) record { change(&r); return r }
	for want, records := range map[string][]record{
		"":                           {taken, begin, effect, finish, done, {What: recListed, Person: "p", Order: "o"}, {What: recCounted, Platform: "x", State: "COMPLETED", Count: 1}},
		"has not come to an end":     {taken, seen(1, "IN_REVIEW")},
		"never seen":                 {taken},
		"the repeat of request":      {taken, effect, done, with(func(r *record) { r.Order = "other" }, taken)},
		"was never acknowledged":     {begin, effect, finish},
		"has 2 effects":              {taken, effect, with(func(r *record) { r.Account = "b" }, effect), done},
		"was detached by":            {taken, effect, done, with(func(r *record) { r.Order = "other" }, effect)},
		"without an effect":          {taken, done},
		"has an effect":              {taken, effect, seen(1, "REFUSED")},
		"was cancelled by its":       {taken, {What: recCancelled, Order: "o"}, effect, done},
		"CANCELLED and has":          {taken, {What: recCancelled, Order: "o"}, effect, seen(1, "CANCELLED", "CANCELLED/0/BY_PERSON")},
		"was UNBIND_STATE_CANCELLED": {taken, seen(2, "CANCELLED"), seen(3, "CANCELLED"), seen(3, "QUEUED")},
		"COMPLETED in run 1":         {taken, effect, done, seen(2, "REFUSED", "QUEUED", "COMPLETED")},
		"its history":                {taken, effect, done, seen(2, "COMPLETED", "QUEUED")},
		"two calls of run 1":         {taken, begin, begin, effect, finish, finish, done},
		"attempt 1 in run 2 after":   {taken, with(func(r *record) { r.Attempt = 3 }, begin), effect, finish, with(func(r *record) { r.Run = 2 }, begin), done},
		"was sent to x in run 2":     {taken, begin, effect, finish, done, with(func(r *record) { r.Run = 2 }, begin)},
		"2 reports of COMPLETED":     {taken, effect, {What: recApplied, Order: "o"}, {What: recApplied, Order: "o"}, done},
		"is not in the list":         {taken, effect, done, {What: recListed, Person: "p", Order: "other"}},
		"the hub counts 2 orders":    {taken, effect, done, {What: recCounted, Platform: "x", State: "COMPLETED", Count: 2}},
		"the hub counts 1 orders of": {taken, effect, done, {What: recCounted, Platform: "x", State: "QUEUED", Count: 1}},
	} {
		got := strings.Join(check(records).breaches, "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("want the breach %q, found %q", want, got)
		}
	}
}
