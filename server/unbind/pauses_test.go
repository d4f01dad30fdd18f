package unbind_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// pauses are those on the hub's disk, in force for its dispatcher.
func (h *hub) pauses(store unbind.PauseStore) *unbind.Pauses {
	h.Helper()
	p := unbind.NewPauses(unbind.PausesOptions{Store: store, Wake: func() { h.service.Wake() }, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	h.check(p.Load(h.Context()))
	h.stop()
	h.options.Paused = p.Paused
	h.run()
	return p
}

func (h *hub) pause(p *unbind.Pauses, at platform.ID) {
	h.Helper()
	h.check(p.Pause(h.Context(), unbind.Pause{Platform: at, Reason: "演练", By: "li"}))
}

func (h *hub) resume(p *unbind.Pauses, at platform.ID, want bool) {
	h.Helper()
	if ended, err := p.Resume(h.Context(), at); err != nil || ended != want {
		h.Errorf("resume %q: %v %v", at, ended, err)
	}
	synctest.Wait()
}

func done(id platform.ID) *peer {
	return &peer{id: id, unbind: func(context.Context, int) (platform.Report, error) {
		return report(platform.StageCompleted, time.Now()), nil
	}}
}

// TestPausedPlatform: a pause holds the orders of its platform and no other's,
// and ends at once.
func TestPausedPlatform(t *testing.T) {
	inHub(t, func(h *hub) {
		p := h.pauses(h.store)
		h.pause(p, "shop")
		held, other := h.place("alice", "shop"), h.place("bob", "bank")
		h.state(other(), completed)
		time.Sleep(time.Hour)
		h.state(held(), queued)
		begin := time.Now()
		h.resume(p, "bank", false)
		h.resume(p, "", false)
		h.state(held(), queued)
		h.resume(p, "shop", true)
		h.state(held(), completed)
		if took := time.Since(begin); took != 0 {
			h.Errorf("sent %v after the pause", took)
		}
	}, done("shop"), done("bank"))
}

// TestPauseOfAllAndOfOne: one does not end the other.
func TestPauseOfAllAndOfOne(t *testing.T) {
	inHub(t, func(h *hub) {
		p := h.pauses(h.store)
		h.pause(p, "shop")
		h.pause(p, "")
		shop, bank := h.place("alice", "shop"), h.place("bob", "bank")
		h.resume(p, "", true)
		h.state(bank(), completed)
		h.state(shop(), queued)
		h.pause(p, "")
		again := h.place("carol", "bank")
		h.resume(p, "shop", true)
		h.state(shop(), queued)
		h.state(again(), queued)
		h.resume(p, "", true)
		h.state(shop(), completed)
		h.state(again(), completed)
	}, done("shop"), done("bank"))
}

// TestPauseSurvivesARestart: with its reason, its time and who it was.
func TestPauseSurvivesARestart(t *testing.T) {
	inHub(t, func(h *hub) {
		p := h.pauses(h.store)
		h.pause(p, "")
		h.pause(p, "shop")
		h.pause(p, "bank")
		before := p.All()
		held := h.place("alice", "shop")
		time.Sleep(time.Hour)
		h.resume(p, "bank", true)
		h.restart()
		p = h.pauses(h.store)
		after := p.All()
		if len(before) != 3 || len(after) != 2 || after[0].Platform != "" || after[1].Platform != "shop" || after[0].By != "li" || after[0].Reason != "演练" || !after[1].Time.Equal(before[2].Time) {
			h.Errorf("before %+v, after %+v", before, after)
		}
		time.Sleep(time.Hour)
		h.state(held(), queued)
		h.resume(p, "", true)
		h.state(held(), queued)
		h.resume(p, "shop", true)
		h.state(held(), completed)
		h.restart()
		if after := h.pauses(h.store).All(); len(after) != 0 {
			h.Errorf("a pause came back: %+v", after)
		}
	}, done("shop"), done("bank"))
}

// TestDrainAndPause: neither undoes the other, whichever comes and goes first.
func TestDrainAndPause(t *testing.T) {
	inHub(t, func(h *hub) {
		p := h.pauses(h.store)
		h.pause(p, "")
		h.now.SetPaused(true)
		first := h.place("alice", "shop")
		h.now.SetPaused(false)
		synctest.Wait()
		h.state(first(), queued)
		h.now.SetPaused(true)
		h.resume(p, "", true)
		h.state(first(), queued)
		h.now.SetPaused(false)
		h.state(first(), completed)
	}, done("shop"))
}

// failingPauses is a disk that takes nothing any more.
type failingPauses struct{ unbind.PauseStore }

var errDisk = errors.New("no space")

func (failingPauses) PutPause(context.Context, unbind.Pause) error { return errDisk }
func (failingPauses) DropPause(context.Context, platform.ID) error { return errDisk }

// TestPauseThatCannotBeKept: what is not on disk is not in force, and what is
// still on disk stays so.
func TestPauseThatCannotBeKept(t *testing.T) {
	inHub(t, func(h *hub) {
		h.check(h.store.PutPause(h.Context(), unbind.Pause{Platform: "bank"}))
		p := h.pauses(failingPauses{h.store})
		if err := p.Pause(h.Context(), unbind.Pause{Platform: "shop"}); !errors.Is(err, errDisk) || p.Paused("shop") {
			h.Errorf("%v, %v", err, p.All())
		}
		if ended, err := p.Resume(h.Context(), "bank"); !errors.Is(err, errDisk) || ended || !p.Paused("bank") {
			h.Errorf("%v %v, %v", ended, err, p.All())
		}
	}, done("shop"))
}
