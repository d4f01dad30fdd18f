// Package usage says how much memory and how many goroutines a measuring program
// has.
package usage

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// BackWithin is how long goroutines are given to end after a load, and never is
// what stands for those that don't.
const (
	BackWithin = 60 * time.Second
	never      = time.Hour
)

// Back waits until there are n goroutines at most, and says how long it took; an
// hour where it took more than BackWithin.
func Back(n int) time.Duration {
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if took := time.Since(begin); runtime.NumGoroutine() <= n {
			return took
		} else if took > BackWithin {
			return never
		}
	}
}

// WatchRSS keeps the most memory that this process had until stop, which waits
// for the last look.
func WatchRSS(most *int64) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			*most = max(*most, residentBytes())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// residentBytes is VmRSS; 0 where the system has no /proc.
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}
