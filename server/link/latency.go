package link

import (
	"math"
	"time"
)

// latency estimates how long a platform takes, from its recent answers: counts in
// buckets that grow by a tenth, halved now and then so that the past fades. The
// queue's mutex guards it.
type latency struct {
	counts [latencyBuckets]uint32
	total  uint32
}

const (
	latencyBuckets = 120
	latencyStep    = 1.1 // 120 steps from 250 µs reach 23 s
	latencyFirst   = 250 * time.Microsecond
	latencyEnough  = 64   // answers before an estimate is given
	latencyFade    = 2048 // answers after which the counts are halved
)

func (l *latency) add(d time.Duration) {
	l.counts[latencyBucket(d)]++
	if l.total++; l.total < latencyFade {
		return
	}
	l.total = 0
	for i := range l.counts {
		l.counts[i] /= 2
		l.total += l.counts[i]
	}
}

func latencyBucket(d time.Duration) int {
	if d <= latencyFirst {
		return 0
	}
	i := int(math.Ceil(math.Log(float64(d)/float64(latencyFirst)) / math.Log(latencyStep)))
	return min(i, latencyBuckets-1)
}

// percentile is the time within which the share p of the answers came, rounded up
// by a tenth at most; 0 where too few came to tell.
func (l *latency) percentile(p float64) time.Duration {
	if l.total < latencyEnough {
		return 0
	}
	need := uint32(math.Ceil(p * float64(l.total)))
	var seen uint32
	for i, n := range l.counts {
		if seen += n; seen >= need {
			return time.Duration(float64(latencyFirst) * math.Pow(latencyStep, float64(i)))
		}
	}
	return 0
}
