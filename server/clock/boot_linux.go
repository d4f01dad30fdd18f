package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot returns a reading for Options.Elapsed that counts the machine's sleep
// too: how long it has been up. It is slewed with the machine's clock and never
// set.
func SinceBoot() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			// Every kernel has it, and to go on would be to go back to the start.
			panic(fmt.Sprintf("clock: read the time since boot: %v", err))
		}
		return time.Duration(t.Nano())
	}
}
