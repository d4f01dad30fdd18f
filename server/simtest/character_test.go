package simtest

import (
	"time"

	"google.golang.org/grpc/codes"
)

// character is how a platform behaves until the world heals. Shares are from 0 to
// 1, of calls where nothing else is said.
type character struct {
	name  string
	mode  string           // SYNC, ASYNC or REDIRECT
	takes [2]time.Duration // from taking an order to its end, where it isn't at once

	again time.Duration // when it wishes to be asked again; 0: as it comes

	slow      float64 // calls that take up to 20 s, longer than the hub waits
	fails     float64 // calls that fail before anything is done
	codes     []codes.Code
	waits     []time.Duration // what such a failure asks for in RetryInfo
	loses     float64         // answers that get lost after the effect
	cuts      bool            // lost answers are connections cut
	hangs     float64         // calls that are never answered
	malformed float64         // answers outside the contract
	refuses   float64         // orders
	forgets   float64         // questions about an order at which it turns out forgotten
	mistakes  float64         // orders that it takes for another's
	reports   float64         // ends that it reports by itself
	copies    int             // of each report
	lateness  time.Duration   // up to which a report comes late
	wild      bool            // reports on orders that aren't its own, of times that can't be, out of order
	contrary  bool            // says this today and that tomorrow

	away   [3]time.Duration // refuses connections: about every, from, to
	unwell [3]time.Duration // answers everything with UNAVAILABLE
}

const (
	hour = time.Hour
	day  = 24 * hour
)

func allCodes() []codes.Code {
	out := []codes.Code{99}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		if c != codes.AlreadyExists { // a word of its own: see mistakes
			out = append(out, c)
		}
	}
	return out
}

// characters are all there are. A world has some of them.
func characters() []character {
	return []character{
		{name: "sync", mode: "SYNC", refuses: 0.1},
		{name: "async", mode: "ASYNC", takes: [2]time.Duration{hour, 5 * day}, reports: 0.8, copies: 1, refuses: 0.2, lateness: hour},
		{name: "chatty", mode: "ASYNC", takes: [2]time.Duration{time.Second, 2 * day}, reports: 1, copies: 5, lateness: 10 * day, wild: true, refuses: 0.2},
		{name: "hasty", mode: "ASYNC", takes: [2]time.Duration{0, 2 * time.Second}, reports: 1, copies: 2, lateness: time.Second, slow: 0.3},
		{name: "slow", mode: "SYNC", slow: 0.7},
		{name: "dripping", mode: "SYNC", hangs: 0.6},
		{name: "down", mode: "SYNC", away: [3]time.Duration{5 * day, 10 * time.Minute, 6 * hour}, unwell: [3]time.Duration{5 * day, hour, 60 * hour}},
		{name: "gone", mode: "SYNC", unwell: [3]time.Duration{2 * day, 9 * day, 14 * day}},
		{name: "flapping", mode: "SYNC", fails: 0.6, loses: 0.2},
		{name: "refuser", mode: "SYNC", refuses: 0.7},
		{name: "redirect", mode: "REDIRECT", takes: [2]time.Duration{hour, 4 * day}, reports: 0.5, copies: 2, lateness: 2 * hour},
		{name: "amnesiac", mode: "ASYNC", takes: [2]time.Duration{day, 8 * day}, forgets: 0.1},
		{name: "codes", mode: "SYNC", fails: 0.7, codes: allCodes(), waits: []time.Duration{0, -1, -time.Second, 10 * 365 * day, time.Minute, 3 * hour}},
		{name: "busy", mode: "SYNC", fails: 0.6, codes: []codes.Code{codes.ResourceExhausted}, waits: []time.Duration{-1, time.Second, 10 * 365 * day, time.Minute, 3 * hour}},
		{name: "malformed", mode: "ASYNC", takes: [2]time.Duration{0, day}, malformed: 0.6},
		{name: "lossy", mode: "SYNC", loses: 0.7},
		{name: "cutting", mode: "SYNC", loses: 0.4, cuts: true},
		{name: "confused", mode: "SYNC", mistakes: 0.5},
		{name: "contrary", mode: "ASYNC", takes: [2]time.Duration{0, day}, reports: 1, copies: 2, lateness: 3 * day, contrary: true, refuses: 0.4},
	}
}
