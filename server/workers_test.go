package server

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// Work that does not end in time is told of, and costs no figures.
func TestStopOfWorkThatHangs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, keysFile)
	if err := seal.Create(file); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(filepath.Join(dir, databaseFile), keys)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w := newWorkers(&Hub{store: store, counter: coverage.NewCounter(nil)}, nil)
	hangs := make(chan struct{})
	w.all.Go(func() { <-hangs })
	w.h.counter.Observe("shop", platform.Answer{State: platform.Bound})
	over, end := context.WithCancel(t.Context())
	end()
	if err := w.stop(over); err == nil {
		t.Error("it is said to have ended")
	}
	close(hangs)
	w.all.Wait()
	if all, err := store.Tallies(t.Context()); err != nil || all["shop"].Asked != 1 {
		t.Errorf("%+v %v", all, err)
	}
}
