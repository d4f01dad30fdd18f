//go:build !linux

package clock

import "time"

// SinceBoot returns a reading for Options.Elapsed that counts the machine's sleep
// too. Here there is none: nil stands for the clock of package time.
func SinceBoot() func() time.Duration { return nil }
