package rpc_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/lookup"
)

// frame is a revision and when it came.
type frame struct {
	*hubv1.Lookup
	at time.Time
}

// watchLate returns every revision until the stream ends.
func (p *person) watchLate(id string) ([]frame, error) {
	s, err := p.lookups.WatchLookup(p.ctx, &hubv1.WatchLookupRequest{LookupId: id, UntilFinal: true})
	if err != nil {
		return nil, err
	}
	var out []frame
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, frame{m.GetLookup(), time.Now()})
	}
}

// askAgain lets the hub ask silent platforms again.
func (w *world) askAgain() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.lookups.RunReasks(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("asking again ended with %v", err)
		}
	})
}

// grow wants revisions that grow, and the states to be RUNNING first and
// COMPLETE from some frame on.
func (w *world) grow(frames []frame) {
	w.Helper()
	for i := 1; i < len(frames); i++ {
		if frames[i].GetRevision() <= frames[i-1].GetRevision() || frames[i].GetState() < frames[i-1].GetState() {
			w.Errorf("revision %d, state %v follows %d, %v", frames[i].GetRevision(), frames[i].GetState(), frames[i-1].GetRevision(), frames[i-1].GetState())
		}
	}
}

func hold(p *peer) { p.holding = true }
func free(p *peer) { p.holding = false }

func TestWatchUntilFinal(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.askAgain()
		w.peers["chat"].set(hold)
		w.peers["bank"].set(hold)
		p := w.person()
		id := p.look().GetLookupId()
		time.AfterFunc(10*time.Second, func() { w.peers["chat"].set(free) })
		time.AfterFunc(45*time.Second, func() { w.peers["bank"].set(free) }) // after it was asked once more
		frames, err := p.watchLate(id)
		if err != nil {
			w.Fatal(err)
		}
		w.grow(frames)
		var late []frame
		for _, f := range frames {
			if f.GetState() == hubv1.LookupState_LOOKUP_STATE_COMPLETE {
				late = append(late, f)
			}
		}
		if len(late) != 3 || late[0].GetSilent() != 2 || late[1].GetSilent() != 1 || late[2].GetSilent() != 0 || late[2].GetAnswered() != 3 {
			w.Fatalf("complete frames: %v", late)
		}
		if late[1].GetRevision() != late[0].GetRevision()+1 || late[2].GetRevision() != late[0].GetRevision()+2 {
			w.Errorf("revisions %d, %d, %d", late[0].GetRevision(), late[1].GetRevision(), late[2].GetRevision())
		}
		if !late[2].at.Equal(time.Now()) {
			w.Errorf("the stream went on %v after its last frame", time.Since(late[2].at))
		}
		if all, err := p.watch(id); err != nil || len(all) != 1 || all[0].GetRevision() != late[2].GetRevision() {
			w.Errorf("without until_final: %v %v", all, err)
		}
		if all, err := p.watchLate(id); err != nil || len(all) != 1 {
			w.Errorf("of one that is final: %v %v", all, err)
		}
	})
}

// TestWatchUntilFinalIsNotTheDefault: who does not ask for it gets the complete
// frame last.
func TestWatchUntilFinalIsNotTheDefault(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.askAgain()
		w.peers["chat"].set(hold)
		p := w.person()
		began := time.Now()
		frames, err := p.watch(p.look().GetLookupId())
		if err != nil || time.Since(began) != 2500*time.Millisecond || frames[len(frames)-1].GetState() != hubv1.LookupState_LOOKUP_STATE_COMPLETE {
			w.Errorf("%v %v after %v", frames, err, time.Since(began))
		}
	})
}

func TestWatchUntilFinalEnds(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*settings)
		after  time.Duration // since the lookup began
	}{
		"with the session":   {nil, 15*time.Minute - 150*time.Millisecond}, // its confirmation took that long
		"at the final time":  {func(s *settings) { s.lookup.FinalAfter = 7 * time.Minute }, 7 * time.Minute},
		"nobody asked again": {func(s *settings) { s.lookup.ReaskAfter = 0 }, 2500 * time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, c.change, func(w *world) {
				w.askAgain()
				w.peers["chat"].set(hold)
				p := w.person()
				began := time.Now()
				frames, err := p.watchLate(p.look().GetLookupId())
				if d := time.Since(began); err != nil || d != c.after {
					w.Errorf("%v after %v", err, d)
				}
				w.grow(frames)
				if last := frames[len(frames)-1]; last.GetSilent() != 1 || last.at.Sub(began) != 2500*time.Millisecond {
					w.Errorf("last: %v after %v", last, last.at.Sub(began))
				}
			})
		})
	}
}

// TestWatchUntilFinalAfterTheNumberChangedHands: nobody is asked again, so there
// is nothing to wait for.
func TestWatchUntilFinalAfterTheNumberChangedHands(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(hold)
		p := w.person()
		id := p.look().GetLookupId()
		p.finished(id)
		_, err := w.store.MergeLate(w.Context(), lookup.Round{LookupID: id, Now: time.Now(), Stop: true})
		w.must(err)
		began := time.Now()
		if frames, err := p.watchLate(id); err != nil || len(frames) != 1 || frames[0].GetSilent() != 1 || time.Since(began) != 0 {
			w.Errorf("%v %v after %v", frames, err, time.Since(began))
		}
	})
}

func TestWatchUntilFinalWhenTheHubDrains(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(hold)
		p := w.person()
		id := p.look().GetLookupId()
		began := time.Now()
		time.AfterFunc(time.Minute, w.lookups.Drain)
		_, err := p.watchLate(id)
		w.wants("drained", err, "SHUTTING_DOWN", "")
		if d := time.Since(began); d != time.Minute {
			w.Errorf("after %v", d)
		}
	})
}

// TestWatchesUntilFinalAreBounded: the third of a session is refused and takes
// no place from long polls.
func TestWatchesUntilFinalAreBounded(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.askAgain()
		w.peers["chat"].set(hold)
		p := w.person()
		id := p.look().GetLookupId()
		done := make(chan error, 2)
		for range cap(done) {
			go func() {
				_, err := p.watchLate(id)
				done <- err
			}()
		}
		synctest.Wait()
		_, err := p.watchLate(id)
		w.wants("the third", err, "OVERLOADED", "")
		if _, err := p.watch(id); err != nil {
			w.Errorf("another watch: %v", err)
		}
		w.peers["chat"].set(free)
		for range cap(done) {
			w.must(<-done)
		}
		if _, err := p.watchLate(id); err != nil {
			w.Errorf("after they ended: %v", err)
		}
	})
}
