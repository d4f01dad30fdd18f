package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// How often progress is shown: redrawn on a terminal, else line by line, and not
// at all for what is over sooner.
const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// meter shows on standard error how far long work is. It belongs to one goroutine.
type meter struct {
	w        io.Writer
	terminal bool
	step     string
	began    time.Time // of the step
	shown    time.Time
	drawn    bool
}

func newMeter(cmd *cobra.Command) *meter {
	now := time.Now()
	m := &meter{w: cmd.ErrOrStderr(), began: now, shown: now}
	if f, ok := m.w.(*os.File); ok {
		m.terminal = isTerminal(f)
	}
	return m
}

// isTerminal takes every device of characters for one but /dev/null.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// tell is a bolt.Progress.
func (m *meter) tell(step string, done, total int64) {
	now := time.Now()
	if step != m.step {
		m.step, m.began = step, now
	}
	every := lineEvery
	if m.terminal {
		every = redrawEvery
	}
	if now.Sub(m.shown) < every {
		return
	}
	m.shown = now
	text := progressText(step, done, total, now.Sub(m.began))
	if m.terminal {
		m.drawn = true
		_, _ = fmt.Fprint(m.w, "\r\x1b[K"+bar(done, total)+" "+text)
		return
	}
	_, _ = fmt.Fprintln(m.w, text)
}

// end takes the bar away, before anything else is printed.
func (m *meter) end() {
	if m.drawn {
		_, _ = fmt.Fprint(m.w, "\r\x1b[K")
	}
	m.drawn = false
}

const barWidth = 24

func bar(done, total int64) string {
	n := int(barWidth * share(done, total))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}

func share(done, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return min(float64(done)/float64(total), 1)
}

// progressText is the share, the rate, and how long the rest of the step takes at
// that rate.
func progressText(step string, done, total int64, took time.Duration) string {
	text := fmt.Sprintf("%s: %d %%", step, int(100*share(done, total)))
	rate := float64(done) / max(took.Seconds(), 0.001)
	if rate <= 0 {
		return text
	}
	if step == "records" || step == "replayed" || step == "discarded" {
		text += fmt.Sprintf(", %d/s", int64(rate))
	} else {
		text += fmt.Sprintf(", %.0f MiB/s", rate/(1<<20))
	}
	left := time.Duration(float64(max(total-done, 0)) / rate * float64(time.Second))
	return text + fmt.Sprintf(", %s left", left.Round(time.Second))
}
