// Package noise says how busy programs that aren't measured kept the machine.
package noise

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// TooMuch is the share from which on figures say more about the others. What the
// kernel does for the network on nobody's account is some percent.
const TooMuch = 0.1

// Meter compares the whole machine with this process and some others.
type Meter struct {
	pids               []int
	root               int   // whose children belong here too; 0 for none
	total, busy, known int64 // ticks, at Start
}

// Start begins to measure; pids are processes that belong here besides this one.
func Start(pids []int) Meter {
	return begin(Meter{pids: append([]int{os.Getpid()}, pids...)})
}

// StartTree is Start for one process and its children, also those that come and go.
func StartTree(pid int) Meter {
	return begin(Meter{pids: []int{os.Getpid(), pid}, root: pid})
}

func begin(m Meter) Meter {
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

// Own is the time of cores that this process and those that belong here have used
// since Start; 0 where the system has no /proc. It counts in ticks of 10 ms.
func (m Meter) Own() time.Duration { return time.Duration(m.ours()-m.known) * 10 * time.Millisecond }

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
		fields := stat(pid)
		ticks += used(fields, 11, 12)
		if pid == m.root {
			ticks += used(fields, 13, 14) // of children that it has seen end
		}
	}
	if m.root == 0 {
		return ticks
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return ticks
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(m.root) {
			ticks += used(fields, 11, 12)
		}
	}
	return ticks
}

// stat is what the system tells of a process, from its state on; nil for none.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:]) // a name may hold anything
}

// used adds up two of the fields: time as a user and in the system.
func used(fields []string, user, system int) (ticks int64) {
	for _, i := range []int{user, system} {
		if i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			ticks += n
		}
	}
	return ticks
}
