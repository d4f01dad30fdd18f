// Package noise says how busy programs that aren't measured kept the machine.
package noise

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// TooMuch is the share from which on figures say more about the others. What the
// kernel does for the network on nobody's account is some percent.
const TooMuch = 0.1

// Meter compares the whole machine with this process and some others.
type Meter struct {
	pids               []int
	total, busy, known int64 // ticks, at Start
}

// Start begins to measure; pids are processes that belong here besides this one.
func Start(pids []int) Meter {
	m := Meter{pids: append([]int{os.Getpid()}, pids...)}
	m.total, m.busy = machine()
	m.known = m.ours()
	return m
}

// Share is the share of the machine that others have used since Start, 0 to 1; 0
// where the system has no /proc.
func (m Meter) Share() float64 {
	total, busy := machine()
	if total <= m.total {
		return 0
	}
	others := (busy - m.busy) - (m.ours() - m.known)
	return max(0, float64(others)/float64(total-m.total))
}

// machine is the time of all cores, and how much of it was not idle.
func machine() (total, busy int64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		if i == 0 || i > 8 { // the name; guests, who count as users already
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		total += n
		if i != 4 && i != 5 { // idle, waiting for a disk
			busy += n
		}
	}
	return total, busy
}

func (m Meter) ours() (ticks int64) {
	for _, pid := range m.pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		after := string(b)[strings.LastIndexByte(string(b), ')')+1:] // a name may hold anything
		fields := strings.Fields(after)
		for _, i := range []int{11, 12} { // user and system time
			if i < len(fields) {
				n, _ := strconv.ParseInt(fields[i], 10, 64)
				ticks += n
			}
		}
	}
	return ticks
}
