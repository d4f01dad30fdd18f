package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/bench/internal/fleet"
	"github.com/tongcha/tongcha/bench/internal/hub"
	"github.com/tongcha/tongcha/bench/internal/load"
	"github.com/tongcha/tongcha/bench/internal/report"
)

// holdingVariable tells a copy of the program that it is to hold lookups open
// and measure its memory. Each arm has a process of its own, since a process
// keeps the goroutines it once had.
const holdingVariable = "TONGCHA_BENCH_HOLDING"

// holding is the order to such a process, held what it found.
type (
	holding struct {
		Naive   bool          `json:"naive"`
		Lookups int           `json:"lookups"`
		Hold    time.Duration `json:"hold"` // until everything that can be sent is sent
		Site    fleet.Site    `json:"site"`
	}
	held struct {
		Ready      bool    `json:"ready,omitempty"`
		PerLookup  float64 `json:"perLookup"` // bytes
		Goroutines int     `json:"goroutines"`
		Ended      int64   `json:"ended"` // lookups that weren't open any more
	}
)

// memory compares the live heap and stacks that an open lookup takes.
func (b *bench) memory() ([]report.Row, error) {
	var perLookup [2]float64
	invalid := ""
	for i := range b.arms {
		got, err := b.hold(i == 0)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(b.out, "  %-8s  %.1f KiB per lookup, %d goroutines\n", b.arms[i].name, got.PerLookup/1024, got.Goroutines)
		if got.Ended > 0 {
			invalid = fmt.Sprintf("%d lookups of %s had ended", got.Ended, b.arms[i].name)
		}
		perLookup[i] = got.PerLookup / 1024
	}
	return []report.Row{{
		Scenario: fmt.Sprintf("%d lookups held open", b.Held), Figure: "live KiB per lookup", Unit: "x", Aim: 0.1,
		Base: perLookup[0], Ours: perLookup[1], Value: perLookup[1] / perLookup[0], Invalid: invalid,
	}}, nil
}

// hold measures one arm. The platforms are slow only once the process is warm.
func (b *bench) hold(naive bool) (held, error) {
	var got held
	if err := b.fleet.Set(fleet.Behaviour{}); err != nil {
		return got, err
	}
	self, err := os.Executable()
	if err != nil {
		return got, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdingVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return got, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return got, err
	}
	if err := cmd.Start(); err != nil {
		return got, err
	}
	orders, lines := json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	order := holding{Naive: naive, Lookups: b.Held, Hold: b.Hold, Site: b.fleet.Site}
	err = errors.Join(orders.Encode(order), lines.Decode(&got), b.fleet.Set(fleet.Behaviour{Delay: 2 * b.Hold}), orders.Encode(true))
	if err == nil {
		err = lines.Decode(&got)
	}
	_ = in.Close() // which ends it
	return got, errors.Join(err, cmd.Wait())
}

// holdingMain is the whole life of such a process; elsewhere it does nothing.
func holdingMain() {
	if os.Getenv(holdingVariable) == "" {
		return
	}
	if err := holdOpen(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fanout, holding:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holdOpen warms up, waits for its cue, opens lookups and measures while they
// are open.
func holdOpen(in io.Reader, out io.Writer) error {
	orders, lines := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	var order holding
	if err := orders.Decode(&order); err != nil {
		return err
	}
	lookup, err := holdingArm(order)
	if err != nil {
		return err
	}
	var numbers load.Numbers
	load.Closed(16, 0, 300*time.Millisecond, &numbers, lookup)
	var cue bool
	if err := errors.Join(lines.Encode(held{Ready: true}), orders.Decode(&cue)); err != nil {
		return err
	}
	before := live()
	var ended atomic.Int64
	for range order.Lookups {
		number := numbers.Next()
		go func() {
			lookup(number)
			ended.Add(1)
		}()
	}
	time.Sleep(order.Hold)
	after := live()
	return lines.Encode(held{
		PerLookup: float64(after-before) / float64(order.Lookups), Goroutines: runtime.NumGoroutine(), Ended: ended.Load(),
	})
}

func holdingArm(order holding) (load.Lookup, error) {
	within := 4 * order.Hold
	if order.Naive {
		n, err := newNaive(order.Site, within)
		if err != nil {
			return nil, err
		}
		return n.lookup, nil
	}
	h, err := hub.New(order.Site, hub.Options{Deadline: within})
	if err != nil {
		return nil, err
	}
	return h.Lookup, nil
}

// live is the heap that is reachable and the stacks, in bytes.
func live() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() + samples[1].Value.Uint64())
}
