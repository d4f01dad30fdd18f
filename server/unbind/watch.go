package unbind

import "sync"

// watches tells those who wait for an order that it changed.
type watches struct {
	mu sync.Mutex
	by map[string]map[chan struct{}]struct{}
}

func newWatches() *watches { return &watches{by: make(map[string]map[chan struct{}]struct{})} }

// watch returns a channel that gets a value at the order's next change. stop
// must be called.
func (w *watches) watch(id string) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by[id] == nil {
		w.by[id] = make(map[chan struct{}]struct{})
	}
	w.by[id][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.by[id], ch)
		if len(w.by[id]) == 0 {
			delete(w.by, id)
		}
	}
}

func (w *watches) changed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.by[id] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
