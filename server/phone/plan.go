package phone

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

// planText is the numbering plan; its comments say where it is from.
//
//go:embed plan.txt
var planText string

// Carrier is who a segment was first given to. Since numbers can be ported it is
// only a hint.
type Carrier string

// The kinds of segment that are refused.
const (
	carrierIoT       Carrier = "iot"
	carrierSatellite Carrier = "satellite"
)

// plan is read once, on first use, and never changes.
var plan = sync.OnceValue(func() map[string]Carrier {
	p, err := parsePlan(planText)
	if err != nil {
		panic("phone: the embedded numbering plan is broken: " + err.Error())
	}
	return p
})

// parsePlan reads lines of "PREFIX CARRIER" or "FIRST-LAST CARRIER".
func parsePlan(text string) (map[string]Carrier, error) {
	p := make(map[string]Carrier)
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("line %d: want a prefix and a carrier", i+1)
		}
		first, last, ranged := strings.Cut(f[0], "-")
		if !ranged {
			last = first
		}
		var a, b int
		if _, err := fmt.Sscan(first+" "+last, &a, &b); err != nil || a > b || len(first) != len(last) {
			return nil, fmt.Errorf("line %d: bad prefix or range", i+1)
		}
		for ; a <= b; a++ {
			p[fmt.Sprint(a)] = Carrier(f[1])
		}
	}
	return p, nil
}

// Segment says who the number's segment was given to; "" for one that the plan
// does not list, which is no reason to refuse a number.
func (n Number) Segment() Carrier { return segmentOf(n.national) }

func segmentOf(national string) Carrier {
	p := plan()
	for l := min(len(national), 7); l >= 3; l-- {
		if c, ok := p[national[:l]]; ok {
			return c
		}
	}
	return ""
}

func refusedSegment(national string) bool {
	c := segmentOf(national)
	return c == carrierIoT || c == carrierSatellite
}
