package coverage

import "time"

// Shares says how much of what is obliged to join is covered. Its sums can be
// added up platform by platform, in any order.
type Shares struct {
	Obliged       int // platforms obliged to join
	JoinedObliged int // of these, those that have joined
	Unweighted    int // obliged platforms without a weight
	Unmeasured    int // obliged platforms with a weight that have joined and were not asked

	weight, joinedWeight int64 // thousandths
	measuredWeight       int64 // of platforms whose answer rate is known: 0 for those that have not joined
	effective            float64
	measured             bool // there is one that has joined among them
}

// Add takes in one platform, as it stands at now.
func (s *Shares) Add(row Row, now time.Time) {
	e := row.Entry
	if !e.Obliged(now) {
		return
	}
	s.Obliged++
	if e.Joined() {
		s.JoinedObliged++
	}
	if e.WeightMilli <= 0 {
		s.Unweighted++
		return
	}
	s.weight += e.WeightMilli
	if !e.Joined() {
		s.measuredWeight += e.WeightMilli // it answers nothing, and that is known
		return
	}
	s.joinedWeight += e.WeightMilli
	rate, known := row.Lookup.Rate()
	if !known {
		s.Unmeasured++
		return
	}
	s.measured = true
	s.measuredWeight += e.WeightMilli
	s.effective += float64(e.WeightMilli) * rate
}

// Joined is the share of the obliged platforms that have joined; false where none
// is obliged.
func (s Shares) Joined() (float64, bool) { return ratio(int64(s.JoinedObliged), int64(s.Obliged)) }

// Weighted is that share by weight; false where no obliged platform has a weight.
func (s Shares) Weighted() (float64, bool) { return ratio(s.joinedWeight, s.weight) }

// Effective is Weighted with each platform counted by its answer rate. A platform
// that was not asked has no rate and is left out; where that leaves none that has
// joined, though some have, nothing is known: false.
func (s Shares) Effective() (float64, bool) {
	if s.measuredWeight == 0 || s.Unmeasured > 0 && !s.measured {
		return 0, false
	}
	return s.effective / float64(s.measuredWeight), true
}
