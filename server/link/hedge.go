package link

import "time"

// hedges sends a second copy of a question that takes longer than nearly all
// others did, and the first answer counts. They are paid for out of a budget of
// one in fifty questions, so that a platform hardly notices them, and a platform
// that is slow as a whole gets none: it would only become slower. Unbind orders
// are never hedged. The queue's mutex guards all of it.
type hedges struct {
	timer  *time.Timer
	set    bool   // the timer will fire
	judged uint64 // the newest question that was looked at
	tokens float64
	copies []*question // to go with the next frame
}

const (
	hedgeShare  = 0.02
	mostTokens  = 8
	fewTokens   = 2    // from here on only the latest are worth one
	hedgeAt     = 0.95 // of the answers come sooner
	leastHedge  = 10 * time.Millisecond
	fewLate     = 2
	slowShare   = 4 // more than a quarter late: the platform is slow
	hedgePeriod = 5 * time.Millisecond
)

// earn is called for every question asked.
func (h *hedges) earn() { h.tokens = min(h.tokens+hedgeShare, mostTokens) }

// take moves the copies to a frame that holds at most size. Those are left out
// whose item ended, or lost its stream and is asked anew.
func (h *hedges) take(frame []*question, size int) []*question {
	for len(h.copies) > 0 && len(frame) < size {
		one := h.copies[0]
		h.copies = h.copies[1:]
		if !one.item.done && one.item.second == one {
			frame = append(frame, one)
		}
	}
	return frame
}

// lateAfter is how long a question may take before it is hedged: a quarter longer
// than 95 of 100 do, and twice that while the budget is low. Of the five others
// most come a moment later by themselves; copies of those would use up what the
// real stragglers need. 0 where too few answers came to tell.
func (q *queue) lateAfter() time.Duration {
	p := q.latency.percentile(hedgeAt)
	if p == 0 {
		return 0
	}
	p += p / 4
	if q.hedges.tokens < fewTokens {
		p *= 2
	}
	return max(p, leastHedge)
}

// watch sets the timer for the oldest question that was not judged yet. The mutex
// is held.
func (h *hedges) watch(q *queue, now time.Time) {
	late := q.lateAfter()
	if h.set || late == 0 {
		return
	}
	for one := q.open.head; one != nil; one = one.next {
		if one.id > h.judged {
			h.set = true
			h.timer.Reset(max(one.sent.Add(late).Sub(now), hedgePeriod))
			return
		}
	}
}

// hedge judges the questions that became late: each is copied, oldest first, as
// far as the budget goes, unless the platform is slow as a whole.
func (q *queue) hedge() {
	now := time.Now()
	q.mu.Lock()
	q.hedges.set = false
	found, slow := q.lateOnes(now)
	if !slow {
		q.copy(found)
	}
	q.hedges.watch(q, now)
	copied := len(q.hedges.copies) > 0
	q.mu.Unlock()
	if copied {
		q.wake()
	}
}

// lateOnes returns the late questions that were not judged before, and whether
// the platform is slow as a whole: of the questions that were sent with those
// that are late now, too many are still open. What has been stuck for long says
// nothing of how the platform is now. One that has a copy, or was asked again,
// gets none. The mutex is held.
func (q *queue) lateOnes(now time.Time) (found []*question, slow bool) {
	after, late := q.lateAfter(), 0
	var first, last uint64
	for one := q.open.head; after > 0 && one != nil && now.Sub(one.sent) >= after; one = one.next {
		it := one.item
		if now.Sub(one.sent) < 2*after {
			late, last = late+1, one.id
			if first == 0 {
				first = one.id
			}
		}
		if one.id > q.hedges.judged {
			q.hedges.judged = one.id
			if one == &it.first && it.second == nil && !it.again {
				found = append(found, one)
			}
		}
	}
	return found, late > max(fewLate, int(last-first+1)/slowShare)
}

// copy prepares the second questions. The mutex is held.
func (q *queue) copy(found []*question) {
	for _, one := range found {
		if q.hedges.tokens < 1 {
			return
		}
		q.hedges.tokens--
		one.item.second = &question{item: one.item}
		q.hedges.copies = append(q.hedges.copies, one.item.second)
	}
}
