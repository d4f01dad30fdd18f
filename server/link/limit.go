package link

// limiter says how many questions a platform may have open at once. It starts
// low, doubles while all goes well, and from the first sign of overload on grows
// in small steps and shrinks in large ones (AIMD, as TCP does), so that a
// platform is asked as fast as it answers and no faster. The queue's mutex guards
// it.
type limiter struct {
	limit  float64
	most   float64
	settle bool // it has met its first overload
	good   int
	bad    int
	peak   int // most questions open since the last step
}

const (
	firstLimit = 64
	leastLimit = 4
	// A platform that fails on one question in a hundred is not overloaded by the
	// others: only a share above this counts, and one failure alone never does.
	overloadShare = 0.1
)

func newLimiter(most int) limiter {
	return limiter{limit: min(firstLimit, float64(most)), most: float64(most)}
}

// room is how many more questions may be open.
func (l *limiter) room(open int) int {
	l.peak = max(l.peak, open)
	return int(l.limit) - open
}

// note counts an outcome and steps when there are enough of them. good is an
// answer in time; bad is a timeout, or a platform that says it has too much.
func (l *limiter) note(good bool) {
	if good {
		l.good++
	} else {
		l.bad++
	}
	if l.good+l.bad < max(8, int(l.limit)/4) {
		return
	}
	used := l.peak >= int(l.limit)/2
	switch {
	case l.bad > 1 && float64(l.bad) > overloadShare*float64(l.good+l.bad):
		l.limit, l.settle = max(l.limit*0.7, leastLimit), true
	case used && !l.settle:
		l.limit = min(l.limit*2, l.most)
	case used:
		l.limit = min(l.limit+max(1, l.limit/16), l.most)
	}
	l.good, l.bad, l.peak = 0, 0, 0
}
