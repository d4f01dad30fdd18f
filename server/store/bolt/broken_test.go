package bolt_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
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

// TestBrokenOrdersTakeNoPlace: however many broken records are due first, those
// behind them are claimed, and the sweep goes on.
func TestBrokenOrdersTakeNoPlace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir).(*bolt.Store)
	f := &sample{T: t, s: s, keys: keysIn(t, dir), now: time.Now().UTC().Truncate(time.Microsecond)}
	var ids []string
	for i := range 6 {
		ids = append(ids, f.order(f.person(i), []string{"r"}, "shop")...)
		f.now = f.now.Add(time.Millisecond)
	}
	f.ok(s.Close())
	path := filepath.Join(dir, "hub.db")
	change(t, path, func(tx *bbolt.Tx) error {
		for _, id := range ids[:4] {
			if err := bucket(tx, "orders").Put([]byte(id), []byte("broken")); err != nil {
				return err
			}
		}
		// One that has ended long ago, without a whole subject.
		ended, err := proto.Marshal(&recordv1.Order{PlatformId: "shop", State: int32(unbind.Completed), StateNanos: 1})
		if err != nil {
			return err
		}
		if err := bucket(tx, "expiry").Put(append(make([]byte, 8), "orders\x00"+ids[0]...), nil); err != nil {
			return err
		}
		return bucket(tx, "orders").Put([]byte(ids[0]), ended)
	})
	s = open(t, dir).(*bolt.Store)
	defer s.Close()
	claims, _, err := s.Claim(t.Context(), unbind.ClaimRequest{Now: f.now, Lease: time.Minute, Max: 9, Free: func(platform.ID) int { return 2 }})
	f.ok(err)
	if len(claims) != 2 || claims[0].Order.ID != ids[4] || claims[1].Order.ID != ids[5] {
		t.Errorf("%d claims behind the broken ones, want 2", len(claims))
	}
	if _, err := s.Sweep(t.Context(), f.now, 100); err != nil {
		t.Errorf("sweep: %v", err)
	}
}
