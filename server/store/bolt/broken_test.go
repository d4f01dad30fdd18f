package bolt_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
)

// TestNothingGoesOnAfterClose: a closed store refuses, and says no more than it
// knows: no commit has failed.
func TestNothingGoesOnAfterClose(t *testing.T) {
	s := open(t, t.TempDir()).(*bolt.Store)
	if _, err := s.Platforms(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.PutPlatform(t.Context(), platform.Entry{ID: "shop"}); !errors.Is(err, fault.StoreFailed) {
		t.Errorf("a write: %v", err)
	}
	if _, err := s.Platforms(t.Context()); !errors.Is(err, fault.StoreFailed) {
		t.Errorf("a read: %v", err)
	}
	select {
	case <-s.Broken():
		t.Error("the store says that it is broken")
	default:
	}
}

// TestCallerLeft: a caller that has left gets its own error, and the store is
// none the worse.
func TestCallerLeft(t *testing.T) {
	s := open(t, t.TempDir()).(*bolt.Store)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutPlatform(ctx, platform.Entry{ID: "shop"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a write of a caller that left: %v", err)
	}
	if _, err := s.Sweep(t.Context(), time.Now(), 10); err != nil {
		t.Errorf("after that: %v", err)
	}
}
