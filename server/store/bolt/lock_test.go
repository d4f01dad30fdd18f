package bolt

import (
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

// TestReadersHoldNoTransactionForLeases: Claim holds the leases' lock while it
// begins a transaction. A reader that waited for that lock within a transaction
// of its own would keep a growing file from being mapped anew, that would keep
// Claim from its transaction, and all three would wait for ever.
func TestReadersHoldNoTransactionForLeases(t *testing.T) {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "keys.json")
	if err := seal.Create(keyFile); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Load(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Join(dir, "hub.db"), keys)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := phone.ParseNumber("13800130001")
	if err != nil {
		t.Fatal(err)
	}
	o := unbind.New(seal.NewID(time.Now()), time.Now(), time.Now(), unbind.Order{Platform: "shop", Number: n})
	_, err = s.Enqueue(t.Context(), unbind.Enqueue{Now: time.Now(), Items: []unbind.Item{{Platform: "shop", Order: &o}}})
	if err != nil {
		t.Fatal(err)
	}
	size := 1 << 20
	for name, read := range map[string]func() error{
		"OrdersOf":  func() error { _, err := s.OrdersOf(t.Context(), o.Subject, "", 1); return err },
		"AllOrders": func() error { _, err := s.AllOrders(t.Context(), "", 0, 1); return err },
		"Order":     func() error { _, err := s.Order(t.Context(), o.Subject, o.ID); return err },
	} {
		var wg sync.WaitGroup
		s.leases.mu.Lock()
		begun := s.db.Stats().Reads
		wg.Go(func() {
			if err := read(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		for range 10000 { // AllOrders asks for the leases first and begins no transaction
			if s.db.Stats().Reads > begun {
				break
			}
			runtime.Gosched()
		}
		size *= 2 // the file grows so far that it is mapped anew
		if err := s.PutPlatform(t.Context(), platform.Entry{ID: platform.ID(name), DisplayName: strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
		s.leases.mu.Unlock()
		wg.Wait()
	}
}
