package link

import (
	"testing"
	"time"
)

func TestAnswerWithin(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: 0, -5: 0, 100: 90, 1000: 900, 2500: 2400} {
		if got := answerWithin(in * time.Millisecond); got != want*time.Millisecond {
			t.Errorf("%d ms: %v", int64(in), got)
		}
	}
}
