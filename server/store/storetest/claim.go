package storetest

import (
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

var claimCases = map[string]func(*fixture){
	"ClaimOldestDueFirst":    claimOldestFirst,
	"ClaimPlacesPerPlatform": claimFree,
	"ClaimInParallel":        claimInParallel,
	"ClaimNextDue":           claimNextDue,
	"ExpiredLease":           expiredLease,
	"LeaseAfterReopen":       leaseAfterReopen,
	"Release":                release,
	"FinishOnce":             finishOnce,
	"FinishRetry":            finishRetry,
	"CancelRacesClaim":       cancelRacesClaim,
	"CancelRacesCancel":      cancelRacesCancel,
	"CancelAfterLostHolder":  cancelAfterLostHolder,
}

// claim leases for an hour, at now and from every platform.
func (f *fixture) claim(most int) []unbind.Claim {
	f.Helper()
	claims, _ := f.claimAt(f.now, time.Hour, most, func(platform.ID) int { return 1000 })
	return claims
}

func (f *fixture) claimAt(now time.Time, lease time.Duration, most int, free func(platform.ID) int) ([]unbind.Claim, time.Time) {
	f.Helper()
	claims, next, err := f.Claim(f.ctx, unbind.ClaimRequest{Now: now, Lease: lease, Max: most, Free: free})
	f.ok(err)
	return claims, next
}

func claimed(claims []unbind.Claim) []string {
	ids := []string{}
	for _, c := range claims {
		ids = append(ids, c.Order.ID)
	}
	return ids
}

// sent is an attempt that just ended.
func (f *fixture) sent() unbind.Attempt { return unbind.Attempt{Began: f.now, Ended: f.now} }

func (f *fixture) answer(stage platform.Stage, at time.Time) platform.Report {
	r := platform.Report{Stage: stage, Time: at}
	switch stage {
	case platform.StageActionRequired:
		r.ActionURL = "https://shop.example/go"
	case platform.StageRefused:
		r.RefusalReason, r.RefusalText = "HAS_DEBT", "先还款"
	}
	return r
}

func claimOldestFirst(f *fixture) {
	b := f.queued("bbb", f.now.Add(-4*time.Hour), f.now.Add(-1*time.Hour))
	a := f.queued("aaa", f.now.Add(-2*time.Hour), f.now.Add(-3*time.Hour), f.now.Add(time.Hour))
	f.reopen()
	f.same("two", claimed(f.claim(2)), []string{b[0], a[1]})
	f.same("the rest", claimed(f.claim(10)), []string{a[0], b[1]})
	f.same("none left", claimed(f.claim(10)), []string{})
}

func claimFree(f *fixture) {
	a := f.queued("aaa", f.now.Add(-5*time.Hour), f.now.Add(-4*time.Hour), f.now.Add(-3*time.Hour))
	b := f.queued("bbb", f.now.Add(-2*time.Hour))
	f.queued("off", f.now.Add(-6*time.Hour))
	f.queued("ccc", f.now.Add(2*time.Hour))
	places := map[platform.ID]int{"aaa": 2, "bbb": 5, "ccc": 1, "off": 0}
	claims, next := f.claimAt(f.now, time.Hour, 100, func(p platform.ID) int { return places[p] })
	f.same("claims", claimed(claims), []string{a[0], a[1], b[0]})
	// Neither the full platform nor the one that is off says when to look again.
	f.same("next", next.UTC(), f.now.Add(2*time.Hour))
}

func claimNextDue(f *fixture) {
	f.queued("aaa", f.now.Add(3*time.Hour), f.now.Add(2*time.Hour))
	claims, next := f.claimAt(f.now, time.Hour, 10, func(platform.ID) int { return 4 })
	f.same("claims", claimed(claims), []string{})
	f.same("next", next.UTC(), f.now.Add(2*time.Hour))
	f.reopen()
	claims, next = f.claimAt(f.now.Add(2*time.Hour), time.Hour, 10, func(platform.ID) int { return 4 })
	f.same("at its time", len(claims), 1)
	f.same("next", next.UTC(), f.now.Add(3*time.Hour))
	_, next = f.claimAt(f.now, time.Hour, 10, func(platform.ID) int { return 0 })
	f.same("nobody has room", next.IsZero(), true)
}

func claimInParallel(f *fixture) {
	due := make([]time.Time, 60)
	for i := range due {
		due[i] = f.now.Add(-time.Duration(i) * time.Minute)
	}
	f.queued("shop", due...)
	var mu sync.Mutex
	tokens, ids := make(map[uint64]bool), make(map[string]bool)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var last uint64
			for {
				claims, _, err := f.Claim(f.ctx, unbind.ClaimRequest{Now: f.now, Lease: time.Hour, Max: 3, Free: func(platform.ID) int { return 2 }})
				if err != nil || len(claims) == 0 {
					return
				}
				mu.Lock()
				for _, c := range claims {
					if ids[c.Order.ID] || tokens[c.Token] || c.Token <= last {
						f.Errorf("order %s or token %d was claimed twice, or the token did not grow", c.Order.ID, c.Token)
					}
					ids[c.Order.ID], tokens[c.Token], last = true, true, c.Token
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	f.same("claimed", len(ids), len(due))
}

// expiredLease: a holder that was too slow can't write any more, whether or not
// somebody else has the order now.
func expiredLease(f *fixture) {
	f.queued("shop", f.now.Add(-3*time.Hour), f.now.Add(-2*time.Hour))
	free := func(platform.ID) int { return 9 }
	old, _ := f.claimAt(f.now.Add(-time.Hour), time.Minute, 2, free)
	f.same("claims", len(old), 2)
	done := unbind.Answered(f.sent(), f.answer(platform.StageCompleted, f.now), time.Time{})
	_, err := f.Finish(f.ctx, old[0], done)
	f.refused(err, fault.LeaseLost)

	again, _ := f.claimAt(f.now, time.Hour, 2, free)
	f.same("claimed again", claimed(again), claimed(old))
	if again[0].Token <= old[1].Token {
		f.Error("tokens don't grow")
	}
	f.Release(f.ctx, old) // an old token ends no newer lease
	f.same("still leased", len(f.claim(10)), 0)
	_, err = f.Finish(f.ctx, old[1], done)
	f.refused(err, fault.LeaseLost)
	o, err := f.Finish(f.ctx, again[1], done)
	f.ok(err)
	f.same("state", o.State, unbind.Completed)
}

func leaseAfterReopen(f *fixture) {
	ids := f.queued("shop", f.now.Add(-time.Hour))
	old := f.claim(1)
	f.reopen()
	done := unbind.Answered(f.sent(), f.answer(platform.StageCompleted, f.now), time.Time{})
	_, err := f.Finish(f.ctx, old[0], done)
	f.refused(err, fault.LeaseLost)
	again := f.claim(1)
	f.same("due again", claimed(again), ids)
	_, err = f.Finish(f.ctx, old[0], done)
	f.refused(err, fault.LeaseLost)
	f.Release(f.ctx, old)
	if again[0].Token <= old[0].Token {
		f.Error("tokens don't grow over a restart")
	}
	_, err = f.Finish(f.ctx, again[0], done)
	f.ok(err)
}

func release(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	c := f.claim(1)
	f.same("while leased", f.orderOf(a, o.ID).State, unbind.Sending)
	f.Release(f.ctx, c)
	f.same("untouched", f.orderOf(a, o.ID), *o)
	_, err := f.Finish(f.ctx, c[0], unbind.Retry(f.sent(), "UNAVAILABLE", f.now))
	f.refused(err, fault.LeaseLost)
	f.same("due as before", claimed(f.claim(1)), []string{o.ID})
}

func finishOnce(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	c := f.claim(1)[0]
	refusal := f.answer(platform.StageRefused, f.now)
	_, err := f.Finish(f.ctx, c, unbind.Answered(f.sent(), refusal, time.Time{}))
	f.ok(err)
	_, err = f.Finish(f.ctx, c, unbind.Retry(f.sent(), "UNAVAILABLE", f.now))
	f.refused(err, fault.LeaseLost)
	f.reopen()
	want := *o
	want.Apply(unbind.Answered(f.sent(), refusal, time.Time{}))
	f.same("refused order", f.orderOf(a, o.ID), want)
	f.same("not due", len(f.claim(9)), 0)
}

func finishRetry(f *fixture) {
	ids := f.queued("shop", f.now.Add(-time.Hour))
	_, err := f.Finish(f.ctx, f.claim(1)[0], unbind.Retry(f.sent(), "UNAVAILABLE", f.now.Add(time.Minute)))
	f.ok(err)
	f.reopen()
	free := func(platform.ID) int { return 9 }
	claims, next := f.claimAt(f.now.Add(time.Minute-1), time.Hour, 9, free)
	f.same("too early", len(claims), 0)
	f.same("next", next.UTC(), f.now.Add(time.Minute))
	claims, _ = f.claimAt(f.now.Add(time.Minute), time.Hour, 9, free)
	f.same("in time", claimed(claims), ids)
	f.same("attempts", claims[0].Order.Attempts, 1)
}

// cancelRacesClaim: an order is either taken back or sent, never both.
func cancelRacesClaim(f *fixture) {
	a := f.alice()
	var ids []string
	for i := range 48 {
		o := f.order(a, platform.ID([]string{"aaa", "bbb", "ccc"}[i%3]), f.now.Add(-time.Hour), string(rune('a'+i)))
		f.enqueue(f.request(a, item(o)))
		ids = append(ids, o.ID)
	}
	var mu sync.Mutex
	leased, taken := make(map[string]bool), make(map[string]bool)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range len(ids) / 4 {
				claims, _, err := f.Claim(f.ctx, unbind.ClaimRequest{Now: f.now, Lease: time.Hour, Max: 1, Free: func(platform.ID) int { return 1 }})
				mu.Lock()
				for _, c := range claims {
					leased[c.Order.ID] = true
				}
				mu.Unlock()
				if err != nil {
					f.Error(err)
				}
			}
		})
		wg.Go(func() {
			for j := len(ids) - 1 - i; j >= 0; j -= 4 { // from the other end: they meet in the middle
				_, err := f.Cancel(f.ctx, a.subject, ids[j], unbind.CancelledByPerson(f.now))
				mu.Lock()
				taken[ids[j]] = err == nil
				mu.Unlock()
				if err != nil && fault.Of(err).Reason != fault.AlreadySent {
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range f.claim(100) {
		leased[c.Order.ID] = true
	}
	for _, id := range ids {
		if leased[id] == taken[id] {
			f.Errorf("order %s: leased %v, cancelled %v", id, leased[id], taken[id])
		}
	}
}

// cancelRacesCancel: of many who take an order back at once one does, and the
// others hear that it has ended, not that it was sent.
func cancelRacesCancel(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	errs := make([]error, 100)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now)) })
	}
	wg.Wait()
	taken := 0
	for _, err := range errs {
		if err == nil {
			taken++
		} else {
			f.refused(err, fault.AlreadyTerminal)
		}
	}
	f.same("cancelled", taken, 1)
	f.same("state", f.orderOf(a, o.ID).State, unbind.Cancelled)
}

// cancelAfterLostHolder: whoever held the order and did not come back may have sent
// it, also where somebody else held it since and did nothing.
func cancelAfterLostHolder(f *fixture) {
	a := f.alice()
	o := f.order(a, "shop", f.now.Add(-3*time.Hour), "r")
	f.enqueue(f.request(a, item(o)))
	free := func(platform.ID) int { return 9 }
	lost, _ := f.claimAt(f.now.Add(-2*time.Hour), time.Minute, 9, free)
	f.same("claimed", len(lost), 1)
	refuse := func() {
		f.Helper()
		_, err := f.Cancel(f.ctx, a.subject, o.ID, unbind.CancelledByPerson(f.now))
		f.refused(err, fault.AlreadySent)
	}
	refuse()
	f.Release(f.ctx, f.claim(9))
	refuse()
	f.same("due all the same", claimed(f.claim(9)), []string{o.ID})
}
