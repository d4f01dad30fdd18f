package unbind

import "time"

// The delays of NextTry.
const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
)

// NextTry is when to try again after the attempt-th attempt, from 1: 1 s, 2 s,
// 4 s … 15 min, each shortened by up to half at random (rnd in [0,1)), so that
// the orders of a platform that was down don't come back all at once.
func NextTry(now time.Time, attempt int, rnd float64) time.Time {
	d := maxDelay
	if attempt < 11 {
		d = min(firstDelay<<max(attempt-1, 0), maxDelay)
	}
	return now.Add(d - time.Duration(rnd*float64(d)/2))
}

// The delays of NextPoll.
const (
	firstPoll = 2 * time.Second
	maxPoll   = time.Hour
)

// NextPoll is when to ask a platform how an order goes that was asked about
// polls times already: what the platform wished for, or 2 s, 4 s, 8 s … 1 h. An
// order that a platform never ends is asked about every hour for as long as it
// is open.
func NextPoll(now time.Time, polls int, wish time.Duration) time.Time {
	if wish > 0 {
		return now.Add(keepWait(wish))
	}
	if polls > 10 {
		return now.Add(maxPoll)
	}
	return now.Add(min(firstPoll<<max(polls, 0), maxPoll))
}

// A wait that a platform asks for is kept between these: nobody is to be asked
// again without a pause, and no order is to sleep for years because of a slip.
const (
	leastWait = time.Second
	mostWait  = 24 * time.Hour
)

func keepWait(d time.Duration) time.Duration { return min(max(d, leastWait), mostWait) }

// stretch puts a poll off further where the platform's orders are late by lag:
// questions about orders in review then leave most of the rate to orders that
// were never sent, however many are in review, and all of them still get their
// turn, since whatever is due first goes first.
func stretch(next, now time.Time, lag time.Duration) time.Time {
	if lag <= 0 {
		return next
	}
	least := now.Add(min(lagShare*min(lag, mostWait), mostWait))
	if least.After(next) {
		return least
	}
	return next
}

// lagShare is how many times the lag a platform's polls wait at least.
const lagShare = 16
