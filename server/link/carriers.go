package link

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// grace is how long the other carriers are waited for after the first definite
// attestation. It is the same for a match and a mismatch: the time of an answer
// must not tell which it is.
const grace = 250 * time.Millisecond

// Carriers makes one carrier of several, since a number does not tell whose it
// is once numbers can be ported. All are asked at once.
//
// A number is registered with one carrier, and the others answer unknown. Should
// they contradict each other, a match wins over a mismatch, of two matches the
// earlier holder_since (fewer accounts are then another holder's), and a change
// of hands over none. Attest waits 250 ms for the others after the first definite
// answer; CheckHolder waits for all. The result is an error, the first in the
// order of the list, only where no carrier gave a definite answer and one failed.
//
// Carriers must return when their context ends: no goroutine outlives the call.
// Of no carriers at all the answer is unknown.
func Carriers(list []platform.Carrier) platform.Carrier {
	if len(list) == 1 {
		return list[0]
	}
	return carriers(list)
}

type carriers []platform.Carrier

// vote is one carrier's answer: V with when, or an error.
type vote[V comparable] struct {
	from int
	says V
	when time.Time
	err  error
}

// Attest asks all carriers.
func (cs carriers) Attest(ctx context.Context, n phone.Number, s phone.IDSuffix) (platform.Attestation, time.Time, error) {
	votes := poll(ctx, cs, grace, func(ctx context.Context, c platform.Carrier) (platform.Attestation, time.Time, error) {
		return c.Attest(ctx, n, s)
	})
	var since time.Time
	for _, v := range votes {
		if v.err == nil && v.says == platform.AttestMatch && (since.IsZero() || v.when.Before(since)) {
			since = v.when
		}
	}
	if !since.IsZero() {
		return platform.AttestMatch, since, nil
	}
	v := decide(votes, platform.AttestMismatch)
	return v.says, time.Time{}, v.err
}

// CheckHolder asks all carriers.
func (cs carriers) CheckHolder(ctx context.Context, n phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	votes := poll(ctx, cs, 0, func(ctx context.Context, c platform.Carrier) (platform.HolderChange, time.Time, error) {
		return c.CheckHolder(ctx, n, since)
	})
	v := decide(votes, platform.ChangeHands, platform.ChangeNone)
	return v.says, v.when, v.err
}

// poll asks all carriers at once and returns their votes in the order of the
// list. Where wait is not 0, carriers that have said nothing that long after the
// first definite vote are cut off; their vote is then an error.
func poll[V comparable](ctx context.Context, cs carriers, wait time.Duration, ask func(context.Context, platform.Carrier) (V, time.Time, error)) []vote[V] {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := make(chan vote[V], len(cs))
	for i, c := range cs {
		go func() {
			says, when, err := ask(ctx, c)
			in <- vote[V]{i, says, when, err}
		}()
	}
	var unknown V
	votes := make([]vote[V], len(cs))
	for range cs {
		v := <-in
		votes[v.from] = v
		if wait > 0 && v.err == nil && v.says != unknown {
			timer := time.AfterFunc(wait, cancel)
			defer timer.Stop()
			wait = 0
		}
	}
	return votes
}

// decide takes the first vote of the first kind that anybody gave, else the
// first error, else the first vote.
func decide[V comparable](votes []vote[V], order ...V) vote[V] {
	for _, says := range order {
		for _, v := range votes {
			if v.err == nil && v.says == says {
				return v
			}
		}
	}
	for _, v := range votes {
		if v.err != nil {
			return vote[V]{err: v.err}
		}
	}
	if len(votes) == 0 {
		return vote[V]{}
	}
	return votes[0]
}
