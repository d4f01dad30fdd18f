package rpc

import (
	"sync"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// The long polls and watches that may be open at once. Each holds some memory
// for up to 30 s; a page needs one or two.
const (
	waitsPerSession = 16
	waitsInAll      = 10_000
)

// waits bounds long polls and watches.
type waits struct {
	mu    sync.Mutex
	by    map[[32]byte]int // by session
	total int
}

func newWaits() *waits { return &waits{by: make(map[[32]byte]int)} }

// enter takes a place, which leave gives back.
//
// Errors: fault.Overloaded.
func (w *waits) enter(session [32]byte) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by[session] >= waitsPerSession || w.total >= waitsInAll {
		return nil, fault.Overloaded.New().WithRetry(time.Second)
	}
	w.by[session]++
	w.total++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.total--
		if w.by[session]--; w.by[session] == 0 {
			delete(w.by, session)
		}
	}, nil
}
