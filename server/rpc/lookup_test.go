package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// noID has the form of an id and names nothing.
const noID = "00000000000000000000000000"

// badIDs have not the form of an id.
func badIDs() []string {
	return []string{"", "x", noID + "0", noID[:25], noID[:25] + "\x00", noID[:25] + "/", strings.ToUpper("0000000000000000000000000a"), strings.Repeat("0", 100_000), "../../etc/passwd"}
}

func (p *person) create(ids []string, requestID string) (*hubv1.Lookup, error) {
	resp, err := p.lookups.CreateLookup(p.ctx, &hubv1.CreateLookupRequest{PlatformIds: ids, RequestId: requestID})
	return resp.GetLookup(), err
}

func (p *person) lookup(id string, wait *durationpb.Duration, since int32) (*hubv1.Lookup, error) {
	resp, err := p.lookups.GetLookup(p.ctx, &hubv1.GetLookupRequest{LookupId: id, Wait: wait, SinceRevision: since})
	return resp.GetLookup(), err
}

// finished waits for the lookup to be complete.
func (p *person) finished(id string) *hubv1.Lookup {
	p.w.Helper()
	for {
		l, err := p.lookup(id, durationpb.New(30*time.Second), math.MaxInt32)
		p.w.must(err)
		if l.GetState() == hubv1.LookupState_LOOKUP_STATE_COMPLETE {
			return l
		}
	}
}

func TestLookupRows(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["bank"].set(func(p *peer) { p.answer = platform.Answer{State: platform.NotBound, AnswerTime: time.Now()} })
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		l := p.finished(p.look().GetLookupId())
		rows := make(map[string]*hubv1.Answer)
		for _, a := range l.GetAnswers() {
			rows[a.GetPlatformId()] = a
		}
		shop, bank, chat, idle := rows["shop"], rows["bank"], rows["chat"], rows["idle"]
		if shop.GetAccountCount() != 2 || shop.GetBoundBeforeHolder() != 1 || shop.GetBoundSinceHolder() != 1 || len(shop.GetProducts()) != 1 {
			w.Errorf("shop: %v", shop)
		}
		if bank.AccountCount == nil || bank.GetAccountCount() != 0 || bank.GetState() != hubv1.AnswerState_ANSWER_STATE_NOT_BOUND {
			w.Errorf("bank: %v", bank)
		}
		if chat.AccountCount != nil || chat.BoundBeforeHolder != nil || chat.AnswerTime != nil || chat.GetState() != hubv1.AnswerState_ANSWER_STATE_SILENT {
			w.Errorf("a silent platform: %v", chat)
		}
		if idle.GetState() != hubv1.AnswerState_ANSWER_STATE_NOT_JOINED || idle.AccountCount != nil || idle.GetSelfServiceUrl() == "" {
			w.Errorf("idle: %v", idle)
		}
		if l.GetAsked() != 3 || l.GetAnswered() != 2 || l.GetSilent() != 1 || l.NextPollAfter != nil {
			w.Errorf("%v", l)
		}
		if text := l.String(); strings.Contains(text, "old account") {
			w.Errorf("an account's reference is shown: %s", text)
		}
	})
}

func TestNoSplitWithoutAttestation(t *testing.T) {
	inWorld(t, func(s *settings) { s.noCarrier = true }, func(w *world) {
		p := w.person()
		for _, a := range p.finished(p.look().GetLookupId()).GetAnswers() {
			if a.BoundBeforeHolder != nil || a.BoundSinceHolder != nil {
				w.Errorf("%v", a)
			}
		}
	})
}

func TestRefusedLookups(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		many := make([]string, 10_000)
		for i := range many {
			many[i] = "shop"
		}
		for what, c := range map[string]struct {
			ids                      []string
			requestID, reason, field string
		}{
			"unknown":          {[]string{"shop", "nobody"}, "", "PLATFORM_UNKNOWN", "platformIds[1]"},
			"no valid form":    {[]string{"shop", "chat", "a b"}, "", "PLATFORM_UNKNOWN", "platformIds[2]"},
			"NUL":              {[]string{"sh\x00op"}, "", "PLATFORM_UNKNOWN", "platformIds[0]"},
			"empty":            {[]string{""}, "", "PLATFORM_UNKNOWN", "platformIds[0]"},
			"long":             {[]string{strings.Repeat("a", 100_000)}, "", "PLATFORM_UNKNOWN", "platformIds[0]"},
			"upper case":       {[]string{"SHOP"}, "", "PLATFORM_UNKNOWN", "platformIds[0]"},
			"10,000":           {many, "", "PLATFORMS_INVALID", "platformIds"},
			"513":              {many[:513], "", "PLATFORMS_INVALID", "platformIds"},
			"request id":       {nil, "a b", "REQUEST_ID_INVALID", "requestId"},
			"long request id":  {nil, strings.Repeat("a", 65), "REQUEST_ID_INVALID", "requestId"},
			"huge request id":  {nil, strings.Repeat("a", 200_000), "REQUEST_ID_INVALID", "requestId"},
			"NUL request id":   {nil, "a\x00", "REQUEST_ID_INVALID", "requestId"},
			"line break in it": {nil, "a\n", "REQUEST_ID_INVALID", "requestId"},
		} {
			_, err := p.create(c.ids, c.requestID)
			w.wants(what, err, c.reason, c.field)
		}
		l, err := p.create(many[:512], "") // repeats are one
		if err != nil || l.GetAsked() != 1 {
			w.Errorf("a platform named 512 times: %v %v", l, err)
		}
		if l, err = p.create([]string{"idle"}, ""); err != nil || l.GetAsked() != 0 || l.GetState() != hubv1.LookupState_LOOKUP_STATE_COMPLETE {
			w.Errorf("one that has not joined: %v %v", l, err)
		}
	})
}

func TestRequestIDsOfLookups(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		first, err := p.create([]string{"shop"}, "r:1")
		w.must(err)
		again, err := p.create([]string{"shop", "shop"}, "r:1")
		if err != nil || again.GetLookupId() != first.GetLookupId() {
			w.Errorf("the same request: %v %v", again, err)
		}
		_, err = p.create([]string{"chat"}, "r:1")
		w.wants("another body", err, "REQUEST_ID_REUSED", "requestId")
		w.carrier.say(func(c *carrier) { c.suffix = "01000X" })
		w.pass(time.Minute)
		other := w.verified(otherNumber, "01000X")
		theirs, err := other.create([]string{"chat"}, "r:1")
		if err != nil || theirs.GetLookupId() == first.GetLookupId() {
			w.Errorf("another person's request of that id: %v %v", theirs, err)
		}
	})
}

func TestLookupOfAnotherSubject(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		id := p.look().GetLookupId()
		p.finished(id)
		w.carrier.say(func(c *carrier) { c.suffix = "01000X" })
		w.pass(time.Minute)
		for what, other := range map[string]*person{"another number": w.verified(otherNumber, "01000X"), "the next holder": w.verified(number, "01000X")} {
			_, err := other.lookup(id, nil, 0)
			w.wants(what, err, "LOOKUP_NOT_FOUND", "")
			_, err = other.watch(id)
			w.wants(what, err, "LOOKUP_NOT_FOUND", "")
		}
		for _, bad := range append(badIDs(), noID) {
			_, err := p.lookup(bad, nil, 0)
			w.wants("id "+bad, err, "LOOKUP_NOT_FOUND", "")
			_, err = p.watch(bad)
			w.wants("id "+bad, err, "LOOKUP_NOT_FOUND", "")
		}
	})
}

func TestWaits(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		l := p.look()
		order := p.orderAt("shop")
		for what, d := range map[string]*durationpb.Duration{
			"negative": {Seconds: -1}, "31 s": {Seconds: 31}, "30 s and 1 ns": {Seconds: 30, Nanos: 1}, "mixed signs": {Seconds: 1, Nanos: -1},
			"overflow": {Seconds: math.MaxInt64}, "nanos": {Nanos: math.MaxInt32}, "the least": {Seconds: math.MinInt64},
		} {
			_, err := p.lookup(l.GetLookupId(), d, 0)
			w.wants(what, err, "WAIT_INVALID", "wait")
			_, err = p.unbinds.GetUnbind(p.ctx, &hubv1.GetUnbindRequest{UnbindId: order, Wait: d})
			w.wants(what, err, "WAIT_INVALID", "wait")
		}
		began := time.Now()
		if l, err := p.lookup(l.GetLookupId(), durationpb.New(time.Second), math.MaxInt32); err != nil || time.Since(began) != time.Second {
			w.Errorf("%v %v after %v", l, err, time.Since(began))
		}
		if _, err := p.lookup(l.GetLookupId(), durationpb.New(30*time.Second), math.MinInt32); err != nil || time.Since(began) != time.Second {
			w.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestWaitsAreBounded: the seventeenth long poll of a session is refused, whatever
// it waits for; another person's isn't, and a place is free again when one ends.
func TestWaitsAreBounded(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		l, order := p.look(), p.orderAt("shop")
		poll := func(p *person, d time.Duration) error {
			_, err := p.unbinds.GetUnbind(p.ctx, &hubv1.GetUnbindRequest{UnbindId: order, Wait: durationpb.New(d)})
			return err
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { _ = poll(p, time.Second) })
		}
		synctest.Wait()
		_, err := p.lookup(l.GetLookupId(), durationpb.New(time.Second), 99)
		w.wants("a poll", err, "OVERLOADED", "")
		w.wants("an order's", poll(p, time.Second), "OVERLOADED", "")
		_, err = p.watch(l.GetLookupId())
		w.wants("a watch", err, "OVERLOADED", "")
		w.must(poll(p, 0))
		all.Wait()
		w.must(poll(p, time.Second))
	})
}

// watch returns every revision that it is told.
func (p *person) watch(id string) ([]*hubv1.Lookup, error) {
	s, err := p.lookups.WatchLookup(p.ctx, &hubv1.WatchLookupRequest{LookupId: id})
	if err != nil {
		return nil, err
	}
	var out []*hubv1.Lookup
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m.GetLookup())
	}
}

func TestWatchTellsEveryRevision(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		id := p.look().GetLookupId()
		time.AfterFunc(time.Second, w.peers["chat"].release)
		frames, err := p.watch(id)
		if err != nil || len(frames) < 2 {
			w.Fatalf("%d frames, %v", len(frames), err)
		}
		for i, f := range frames[1:] {
			if f.GetRevision() <= frames[i].GetRevision() {
				w.Errorf("revision %d follows %d", f.GetRevision(), frames[i].GetRevision())
			}
		}
		if last := frames[len(frames)-1]; last.GetState() != hubv1.LookupState_LOOKUP_STATE_COMPLETE || last.GetAnswered() != 3 {
			w.Errorf("last: %v", last)
		}
	})
}

// A hub that stops lets a watch go instead of spinning on it.
func TestWatchEndsWhenTheHubDrains(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		id := p.look().GetLookupId()
		began := time.Now()
		time.AfterFunc(time.Second, w.lookups.Drain)
		_, err := p.watch(id)
		if got := w.wants("drained", err, "SHUTTING_DOWN", ""); got.code != codes.Unavailable || time.Since(began) != time.Second {
			w.Errorf("%v after %v", got.code, time.Since(began))
		}
		_, err = p.create(nil, "")
		w.wants("a lookup while stopping", err, "SHUTTING_DOWN", "")
	})
}

func TestLookupLimits(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for s := range 3 {
			p := w.person()
			for i := range 10 {
				_, err := p.create(nil, fmt.Sprint(s, ":", i))
				w.must(err)
			}
			_, err := p.create(nil, fmt.Sprint(s, ":", 0)) // a repeat counts nothing
			w.must(err)
			_, err = p.create(nil, "")
			if got := w.wants("the 11th of a session", err, "LOOKUP_RATE", ""); got.retry > 15*time.Minute {
				w.Errorf("retry after %v", got.retry)
			}
			w.pass(time.Minute)
		}
		_, err := w.person().create(nil, "")
		w.wants("the 31st of a number", err, "LOOKUP_RATE", "")
	})
}

func TestDeadlinesOfClients(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		for what, d := range map[string]time.Duration{"1 ns": time.Nanosecond, "none left": 0, "over": -time.Hour} {
			ctx, cancel := context.WithTimeout(p.ctx, d)
			_, err := p.lookups.CreateLookup(ctx, &hubv1.CreateLookupRequest{})
			cancel()
			if got := w.tell(err); got.code != codes.DeadlineExceeded && d != time.Nanosecond { // a bubble's clock may not tick in time
				w.Errorf("%s: %v", what, got.code)
			}
		}
		ctx, cancel := context.WithTimeout(p.ctx, 10*365*24*time.Hour)
		defer cancel()
		resp, err := p.lookups.CreateLookup(ctx, &hubv1.CreateLookupRequest{})
		w.must(err)
		id := resp.GetLookup().GetLookupId()
		short, cancelShort := context.WithTimeout(p.ctx, time.Second)
		defer cancelShort()
		_, err = p.lookups.GetLookup(short, &hubv1.GetLookupRequest{LookupId: id, Wait: durationpb.New(30 * time.Second), SinceRevision: math.MaxInt32})
		if got := w.tell(err); got.code != codes.DeadlineExceeded {
			w.Errorf("a deadline in mid-wait: %v", got.code)
		}
	})
}

// Who leaves half-way harms nobody: the lookup goes on.
func TestClientLeavesHalfWay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.peers["chat"].set(func(p *peer) { p.holding = true })
		p := w.person()
		id := p.look().GetLookupId()
		ctx, cancel := context.WithCancel(p.ctx)
		s, err := p.lookups.WatchLookup(ctx, &hubv1.WatchLookupRequest{LookupId: id})
		w.must(err)
		_, err = s.Recv()
		w.must(err)
		cancel()
		_, err = s.Recv()
		if w.tell(err).code != codes.Canceled {
			w.Errorf("%v", err)
		}
		synctest.Wait()
		if log := w.logs.String(); strings.Contains(log, "level=ERROR") {
			w.Errorf("a client that left is an error in the log: %s", log)
		}
		if l := p.finished(id); l.GetAsked() != 3 || l.GetSilent() != 1 {
			w.Errorf("%v", l)
		}
	})
}
