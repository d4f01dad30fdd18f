package link_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

// Every span that is begun is ended, however its question ends; a question that
// is asked a second time has one span all the same.
func TestSpansEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var begun int
		ended := make(map[string]int)
		w, g := newWorld(t), newGate()
		w.connector(&connector{lookup: g.lookup})
		r, p := w.shop(func(o *link.Options) {
			o.Span = func(string, platform.ID, string) (string, func(string)) {
				mu.Lock()
				defer mu.Unlock()
				begun++
				return "", func(outcome string) {
					mu.Lock()
					defer mu.Unlock()
					ended[outcome]++
				}
			}
		})
		twice, withdrawn := ask(t, p, time.Second), ask(t, p, time.Second)
		p.Ask(&twice.Call)
		past := ask(t, p, -time.Second)
		p.Withdraw(&withdrawn.Call)
		silent := ask(t, p, 500*time.Millisecond)
		silent.wait()
		close(g.open)
		for _, q := range []*question{twice, past, withdrawn} {
			q.wait()
		}
		r.Close()
		ask(t, p, time.Second).wait() // refused
		mu.Lock()
		defer mu.Unlock()
		if begun != 5 || ended["answered"] != 1 || ended["silent"] != 4 || len(ended) != 2 {
			t.Errorf("%d begun, ended: %v", begun, ended)
		}
	})
}
