package unbind_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// moody is a platform that mixes ids up until it is mended.
func moody(id platform.ID) (*peer, *atomic.Bool) {
	mended := new(atomic.Bool)
	return &peer{id: id, unbind: func(context.Context, int) (platform.Report, error) {
		if !mended.Load() {
			return platform.Report{}, &platform.CallError{Code: platform.CodeAlreadyExists}
		}
		return report(platform.StageCompleted, time.Now()), nil
	}}, mended
}

// bury makes dead letters.
func (h *hub) bury(n int, at platform.ID) {
	h.Helper()
	for i := range n {
		h.place("p"+string(at)+time.Duration(i).String(), at)
	}
	synctest.Wait()
	time.Sleep(time.Minute) // so that they are of the past, and a rate has done with them
	synctest.Wait()
	if got := h.dead(at); got != n {
		h.Fatalf("%d dead letters at %s, want %d", got, at, n)
	}
}

func (h *hub) dead(at platform.ID) int {
	h.Helper()
	found, _, err := h.store.DeadLetters(h.Context(), unbind.DeadLetterQuery{Platform: at, Limit: 1000})
	h.check(err)
	return len(found)
}

// TestReplayAtARate: two hundred go out at ten in a second, no faster, while new
// orders are taken and end at once.
func TestReplayAtARate(t *testing.T) {
	shop, mended := moody("shop")
	inHub(t, func(h *hub) {
		h.bury(200, "shop")
		h.bury(3, "bank")
		mended.Store(true)
		before := len(shop.unbinds())
		begin, told := time.Now(), 0
		choice := unbind.DeadLetterChoice{Query: unbind.DeadLetterQuery{Platform: "shop"}}
		counts, err := h.service.CountDeadLetters(h.Context(), choice)
		if err != nil || len(counts) != 1 || counts[0].Count != 200 || counts[0].Reason != platform.CodeAlreadyExists || !counts[0].Oldest.Before(begin) {
			h.Errorf("%+v %v", counts, err)
		}
		h.check(h.service.ReplayDeadLetters(h.Context(), choice, 10, func(r unbind.DeadLetterResult) error {
			if told++; told%50 == 0 { // a person orders meanwhile
				h.state(h.place("new"+time.Duration(told).String(), "shop")(), completed)
			}
			return nil
		}))
		synctest.Wait()
		if took := time.Since(begin); told != 200 || took != 199*100*time.Millisecond {
			h.Errorf("%d replayed in %v", told, took)
		}
		calls := shop.unbinds()[before:]
		if len(calls) != 204 || h.dead("shop") != 0 || h.dead("bank") != 3 {
			h.Errorf("%d calls, %d dead letters at shop, %d at bank", len(calls), h.dead("shop"), h.dead("bank"))
		}
		for i, c := range calls {
			n := 0
			for _, other := range calls[i:] {
				if other.at.Sub(c.at) < time.Second {
					n++
				}
			}
			if n > 11 { // a new one may be among them
				h.Fatalf("%d calls within a second", n)
			}
		}
	}, shop, first(moody("bank")))
}

func first(p *peer, _ *atomic.Bool) *peer { return p }

// unbinds are the calls of Unbind so far.
func (p *peer) unbinds() []call {
	sent, _ := p.calls()
	return sent
}

// TestReplayOfWhatDiesAgain: each is tried once, however long the replay lasts.
func TestReplayOfWhatDiesAgain(t *testing.T) {
	const n = 230 // more than are read at once
	shop, _ := moody("shop")
	inHub(t, func(h *hub) {
		h.bury(n, "shop")
		told := 0
		h.check(h.service.ReplayDeadLetters(h.Context(), unbind.DeadLetterChoice{}, 20, func(unbind.DeadLetterResult) error {
			if told++; told > n {
				return errors.New("one is replayed twice")
			}
			return nil
		}))
		synctest.Wait()
		if told != n || len(shop.unbinds()) != 2*n || h.dead("shop") != n {
			h.Errorf("%d replayed, %d calls, %d dead letters", told, len(shop.unbinds()), h.dead("shop"))
		}
	}, shop)
}

// TestReplayStopped: by whoever asked for it, by who is told, or by the hub; what
// was replayed stays so and the rest is found again.
func TestReplayStopped(t *testing.T) {
	shop, mended := moody("shop")
	inHub(t, func(h *hub) {
		h.bury(10, "shop")
		mended.Store(true)
		replay := func(ctx context.Context, tell func(n int) error) error {
			n := 0
			err := h.service.ReplayDeadLetters(ctx, unbind.DeadLetterChoice{}, 1, func(unbind.DeadLetterResult) error { n++; return tell(n) })
			synctest.Wait()
			return err
		}
		ctx, cancel := context.WithCancel(h.Context())
		err := replay(ctx, func(n int) error {
			if n == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || h.dead("shop") != 7 {
			h.Errorf("cancelled: %v, %d left", err, h.dead("shop"))
		}
		gone := errors.New("nobody listens")
		if err := replay(h.Context(), func(int) error { return gone }); !errors.Is(err, gone) || h.dead("shop") != 6 {
			h.Errorf("nobody listens: %v, %d left", err, h.dead("shop"))
		}
		begin := time.Now()
		err = replay(h.Context(), func(n int) error {
			if n == 2 {
				h.service.Drain()
			}
			return nil
		})
		if !errors.Is(err, fault.ShuttingDown) || h.dead("shop") != 4 || time.Since(begin) != time.Second {
			h.Errorf("stopping: %v after %v, %d left", err, time.Since(begin), h.dead("shop"))
		}
	}, shop)
}

// TestReplayByID: what is no dead letter is told and keeps nothing else from
// being replayed.
func TestReplayByID(t *testing.T) {
	shop, mended := moody("shop")
	inHub(t, func(h *hub) {
		h.bury(3, "shop")
		dead, _, err := h.store.DeadLetters(h.Context(), unbind.DeadLetterQuery{Limit: 9})
		h.check(err)
		mended.Store(true)
		open := h.place("zoe", "away")()
		unknown := "00000000000000000000000000"
		got := make(map[string]fault.Reason)
		ids := []string{unknown, dead[0].ID, open.ID, dead[1].ID, dead[2].ID}
		h.check(h.service.ReplayDeadLetters(h.Context(), unbind.DeadLetterChoice{IDs: ids, Limit: 4}, 1000, func(r unbind.DeadLetterResult) error {
			got[r.ID] = r.Failed
			return nil
		}))
		if len(got) != 4 || got[unknown] != fault.UnbindNotFound || got[open.ID] != fault.NotAbandoned || got[dead[0].ID] != "" || got[dead[1].ID] != "" || h.dead("shop") != 1 {
			h.Errorf("%v, %d left", got, h.dead("shop"))
		}
	}, shop)
}

// TestDiscard: with a note, at once, those that the query finds and no more than
// the limit; an order that was discarded can't be replayed.
func TestDiscard(t *testing.T) {
	shop, _ := moody("shop")
	inHub(t, func(h *hub) {
		h.bury(5, "shop")
		half := time.Now()
		h.bury0("shop", 4)
		var ids []string
		choice := unbind.DeadLetterChoice{Query: unbind.DeadLetterQuery{Before: half, Reason: platform.CodeAlreadyExists}, Limit: 3}
		counts, err := h.service.CountDeadLetters(h.Context(), choice)
		if err != nil || len(counts) != 1 || counts[0].Count != 3 {
			h.Errorf("%+v %v", counts, err)
		}
		h.check(h.service.DiscardDeadLetters(h.Context(), choice, "settled", func(r unbind.DeadLetterResult) error { ids = append(ids, r.ID); return nil }))
		if len(ids) != 3 || h.dead("shop") != 6 {
			h.Errorf("%d discarded, %d left", len(ids), h.dead("shop"))
		}
		o, err := h.store.AnyOrder(h.Context(), ids[0])
		h.check(err)
		if o.State != unbind.Abandoned || !o.Discarded || o.Note != "settled" || o.EndReason() != platform.CodeAlreadyExists || o.LastOutcome() != "DISCARDED" {
			h.Errorf("%+v", o)
		}
		h.check(h.service.ReplayDeadLetters(h.Context(), unbind.DeadLetterChoice{IDs: ids[:1]}, 1, func(r unbind.DeadLetterResult) error {
			if r.Failed != fault.NotAbandoned {
				h.Errorf("a discarded order: %+v", r)
			}
			return nil
		}))
		none := unbind.DeadLetterChoice{Query: unbind.DeadLetterQuery{Reason: "TOO_OLD"}}
		h.check(h.service.DiscardDeadLetters(h.Context(), none, "x", func(unbind.DeadLetterResult) error { return errors.New("found") }))
	}, shop)
}

// bury0 makes more dead letters.
func (h *hub) bury0(at platform.ID, n int) {
	h.Helper()
	for i := range n {
		h.place("q"+time.Duration(i).String(), at)
	}
	synctest.Wait()
	time.Sleep(time.Minute)
}
