package rpc

import (
	"math/rand/v2"
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

// The watches for late answers that may be open at once. They last up to 15 min,
// so that they have places of their own and take none from long polls.
const (
	lateWatchesPerSession = 2
	lateWatchesInAll      = 5000
)

// waits bounds long polls and watches.
type waits struct {
	perSession, inAll int

	mu    sync.Mutex
	by    map[[32]byte]int // by session
	total int
}

func newWaits(perSession, inAll int) *waits {
	return &waits{perSession: perSession, inAll: inAll, by: make(map[[32]byte]int)}
}

// enter takes a place, which leave gives back.
//
// Errors: fault.Overloaded.
func (w *waits) enter(session [32]byte) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by[session] >= w.perSession || w.total >= w.inAll {
		return nil, fault.Overloaded.New().WithRetry(time.Second + rand.N(time.Second))
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
