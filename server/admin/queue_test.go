package admin_test

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

// give makes dead letters.
func (d *desk) give(at platform.ID, reason string, n int) []string {
	d.Helper()
	var ids []string
	for range n {
		o := d.order(at)
		claims, _, err := d.store.Claim(d.Context(), unbind.ClaimRequest{Now: time.Now(), Lease: time.Hour, Max: 1, Free: func(p platform.ID) int {
			if p == at {
				return 1
			}
			return 0
		}})
		d.must(err)
		now := time.Now()
		_, err = d.store.Finish(d.Context(), claims[0], unbind.Abandon(unbind.Attempt{Began: now.Add(-1500 * time.Microsecond), Ended: now}, reason))
		d.must(err)
		ids = append(ids, o.ID)
	}
	return ids
}

// replay follows a replay to its end.
func (d *desk) replay(sel *adminv1.DeadLetterSelection, perSecond float64) (all []*adminv1.DeadLetterProgress, err error) {
	d.Helper()
	s, err := d.queue.ReplayDeadLetters(d.Context(), &adminv1.ReplayDeadLettersRequest{Selection: sel, PerSecond: perSecond})
	d.must(err)
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		d.noNumber(m)
		all = append(all, m.GetProgress())
	}
}

func (d *desk) discard(sel *adminv1.DeadLetterSelection, note string) (last *adminv1.DeadLetterProgress, err error) {
	d.Helper()
	s, err := d.queue.DiscardDeadLetters(d.Context(), &adminv1.DiscardDeadLettersRequest{Selection: sel, Note: note})
	d.must(err)
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = m.GetProgress()
	}
}

func (d *desk) deadLetters(f *adminv1.DeadLetterFilter) []*adminv1.Unbind {
	d.Helper()
	resp, err := d.queue.ListDeadLetters(d.Context(), &adminv1.ListDeadLettersRequest{Filter: f})
	d.must(err)
	d.noNumber(resp)
	return resp.GetUnbinds()
}

func TestReplayDeadLetters(t *testing.T) {
	d := newDesk(t)
	ids := append(d.give("shop", "TOO_OLD", 3), d.give("bank", "ALREADY_EXISTS", 1)...)
	if got := d.deadLetters(nil); len(got) != 4 || got[0].GetPlatformId() != "bank" || got[0].GetLastOutcome() != "ALREADY_EXISTS" || len(got[0].GetHistory()) != 0 {
		t.Errorf("%v", got)
	}
	if got := d.deadLetters(&adminv1.DeadLetterFilter{OlderThan: durationpb.New(time.Hour)}); len(got) != 0 {
		t.Errorf("older than an hour: %v", got)
	}
	all, err := d.replay(&adminv1.DeadLetterSelection{All: true, DryRun: true}, 1000)
	if err != nil || len(all) != 1 || all[0].GetTotal() != 4 || len(all[0].GetCounts()) != 2 || all[0].GetCounts()[1].GetCount() != 3 || all[0].GetCounts()[1].GetReason() != "TOO_OLD" ||
		all[0].GetCounts()[1].GetOldestTime() == nil || len(d.deadLetters(nil)) != 4 {
		t.Errorf("dry run: %v %v", all, err)
	}
	all, err = d.replay(&adminv1.DeadLetterSelection{Filter: &adminv1.DeadLetterFilter{PlatformId: "shop"}, Limit: 2}, 1000)
	if err != nil || len(all) != 3 || all[0].GetTotal() != 2 || all[2].GetDone() != 2 || all[2].GetTotal() != 2 || len(d.deadLetters(nil)) != 2 {
		t.Errorf("a filter: %v %v", all, err)
	}
	open, unknown := d.order("away").ID, seal.NewID(time.Now())
	all, err = d.replay(&adminv1.DeadLetterSelection{UnbindIds: []string{open, ids[3], unknown, ids[3]}}, 1000)
	if err != nil || len(all) != 4 || all[0].GetTotal() != 3 || all[3].GetDone() != 1 || all[3].GetFailed() != 2 {
		t.Fatalf("ids: %v %v", all, err)
	}
	if f := all[1].GetFailure(); f.GetUnbindId() != open || f.GetReason() != "NOT_ABANDONED" || all[3].GetFailure().GetReason() != "UNBIND_NOT_FOUND" || all[2].GetFailure() != nil {
		t.Errorf("failures: %v", all)
	}
	got, err := d.GetUnbind(t.Context(), &adminv1.GetUnbindRequest{UnbindId: ids[3]})
	d.must(err)
	h := got.GetUnbind().GetHistory()
	if last := h[len(h)-1]; got.GetUnbind().GetState() != "QUEUED" || last.GetReason() != "REPLAYED" || last.TookMillis != nil || h[len(h)-2].GetTookMillis() != 2 {
		t.Errorf("history: %v", h)
	}
	if log := d.logs.String(); !strings.Contains(log, "dead letter replayed") || !strings.Contains(log, ids[3]) {
		t.Errorf("the log does not say what was done: %s", log)
	}
}

func TestDiscardDeadLetters(t *testing.T) {
	d := newDesk(t)
	ids := d.give("shop", "TOO_OLD", 3)
	last, err := d.discard(&adminv1.DeadLetterSelection{UnbindIds: ids[:1]}, " settled by hand ")
	if err != nil || last.GetDone() != 1 || len(d.deadLetters(nil)) != 2 {
		t.Errorf("%v %v", last, err)
	}
	got, err := d.GetUnbind(t.Context(), &adminv1.GetUnbindRequest{UnbindId: ids[0]})
	d.must(err)
	if u := got.GetUnbind(); u.GetState() != "ABANDONED" || !u.GetDiscarded() || u.GetNote() != "settled by hand" {
		t.Errorf("%v", u)
	}
	if strings.Contains(d.logs.String(), "settled") {
		t.Error("the log has what the operator typed")
	}
	for _, note := range []string{"", "  ", strings.Repeat("长", 201), "a\x00b", "see 13912349876", "１３９１２３４９８７６", "139 1234 9876"} {
		_, err := d.discard(&adminv1.DeadLetterSelection{All: true}, note)
		d.wants("a note", err, fault.NoteInvalid, "note")
	}
	if n := len(d.deadLetters(nil)); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
}

// TestBadSelections: nothing happens to any dead letter.
func TestBadSelections(t *testing.T) {
	d := newDesk(t)
	ids := d.give("shop", "TOO_OLD", 1)
	many := make([]string, 1001)
	for i := range many {
		many[i] = ids[0]
	}
	shop := &adminv1.DeadLetterFilter{PlatformId: "shop"}
	for what, c := range map[string]struct {
		sel   *adminv1.DeadLetterSelection
		rate  float64
		field string
	}{
		"nothing":            {nil, 1, "selection"},
		"an empty filter":    {&adminv1.DeadLetterSelection{Filter: &adminv1.DeadLetterFilter{}}, 1, "selection"},
		"ids and a filter":   {&adminv1.DeadLetterSelection{UnbindIds: ids, Filter: shop}, 1, "selection"},
		"ids and all":        {&adminv1.DeadLetterSelection{UnbindIds: ids, All: true}, 1, "selection"},
		"a filter and all":   {&adminv1.DeadLetterSelection{Filter: shop, All: true}, 1, "selection"},
		"too many ids":       {&adminv1.DeadLetterSelection{UnbindIds: many}, 1, "selection.unbindIds"},
		"no id":              {&adminv1.DeadLetterSelection{UnbindIds: []string{ids[0], number}}, 1, "selection.unbindIds[1]"},
		"a negative limit":   {&adminv1.DeadLetterSelection{All: true, Limit: -1}, 1, "selection.limit"},
		"a negative age":     {&adminv1.DeadLetterSelection{Filter: &adminv1.DeadLetterFilter{OlderThan: durationpb.New(-1)}}, 1, "selection.filter.olderThan"},
		"an age that is not": {&adminv1.DeadLetterSelection{Filter: &adminv1.DeadLetterFilter{OlderThan: &durationpb.Duration{Seconds: math.MaxInt64}}}, 1, "selection.filter.olderThan"},
		"no reason":          {&adminv1.DeadLetterSelection{Filter: &adminv1.DeadLetterFilter{Reason: "too old"}}, 1, "selection.filter.reason"},
		"no rate":            {&adminv1.DeadLetterSelection{All: true}, 0, "perSecond"},
		"a negative rate":    {&adminv1.DeadLetterSelection{All: true}, -5, "perSecond"},
		"a huge rate":        {&adminv1.DeadLetterSelection{All: true}, 1001, "perSecond"},
		"a rate that is not": {&adminv1.DeadLetterSelection{All: true}, math.NaN(), "perSecond"},
		"a rate of ages":     {&adminv1.DeadLetterSelection{All: true}, 0.9 / 3600, "perSecond"},
	} {
		got, err := d.replay(c.sel, c.rate)
		d.wants(what, err, fault.SelectionInvalid, c.field)
		if len(got) != 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	if n := len(d.deadLetters(nil)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	for _, token := range []string{"x", "0", strings.Repeat("00", 300)} {
		_, err := d.queue.ListDeadLetters(t.Context(), &adminv1.ListDeadLettersRequest{PageToken: token})
		d.wants("dead letters", err, fault.PageTokenInvalid, "pageToken")
		_, err = d.queue.ListOpenOrders(t.Context(), &adminv1.ListOpenOrdersRequest{PageToken: token})
		d.wants("open orders", err, fault.PageTokenInvalid, "pageToken")
	}
}

func TestListOpenOrders(t *testing.T) {
	d := newDesk(t)
	d.refuse(d.order("chat"))
	want := []string{d.order("shop").ID, d.order("bank").ID}
	resp, err := d.queue.ListOpenOrders(t.Context(), &adminv1.ListOpenOrdersRequest{Limit: 1})
	d.must(err)
	if len(resp.GetUnbinds()) != 1 || resp.GetUnbinds()[0].GetUnbindId() != want[0] || resp.GetNextPageToken() == "" || len(resp.GetUnbinds()[0].GetHistory()) != 0 {
		t.Errorf("%v", resp)
	}
	d.noNumber(resp)
	resp, err = d.queue.ListOpenOrders(t.Context(), &adminv1.ListOpenOrdersRequest{Limit: math.MaxInt32, PageToken: resp.GetNextPageToken(), State: "QUEUED", PlatformId: "bank"})
	d.must(err)
	if len(resp.GetUnbinds()) != 1 || resp.GetUnbinds()[0].GetUnbindId() != want[1] || resp.GetNextPageToken() != "" {
		t.Errorf("%v", resp)
	}
	for _, s := range []string{"queued", "COMPLETED", "ABANDONED", "x"} {
		_, err := d.queue.ListOpenOrders(t.Context(), &adminv1.ListOpenOrdersRequest{State: s})
		d.wants(s, err, fault.StateInvalid, "state")
	}
}

func TestPauseQueue(t *testing.T) {
	d := newDesk(t)
	_, err := d.AddPlatform(t.Context(), shop())
	d.must(err)
	for _, c := range []struct {
		r      *adminv1.PauseQueueRequest
		reason fault.Reason
		field  string
	}{
		{&adminv1.PauseQueueRequest{}, fault.NoteInvalid, "reason"},
		{&adminv1.PauseQueueRequest{Reason: " "}, fault.NoteInvalid, "reason"},
		{&adminv1.PauseQueueRequest{Reason: "call " + number}, fault.NoteInvalid, "reason"},
		{&adminv1.PauseQueueRequest{Reason: strings.Repeat("x", 201)}, fault.NoteInvalid, "reason"},
		{&adminv1.PauseQueueRequest{Reason: "x", By: number}, fault.NoteInvalid, "by"},
		{&adminv1.PauseQueueRequest{Reason: "x", PlatformId: "nobody"}, fault.PlatformUnknown, "platformId"},
	} {
		_, err := d.queue.PauseQueue(t.Context(), c.r)
		d.wants(c.r.String(), err, c.reason, c.field)
	}
	_, err = d.queue.PauseQueue(t.Context(), &adminv1.PauseQueueRequest{PlatformId: "shop", Reason: "搬迁"})
	d.must(err)
	resp, err := d.queue.PauseQueue(t.Context(), &adminv1.PauseQueueRequest{Reason: "wrong unbinds", By: "li"})
	d.must(err)
	if p := resp.GetPauses(); len(p) != 2 || p[0].GetPlatformId() != "" || p[0].GetBy() != "li" || p[1].GetReason() != "搬迁" || p[1].GetPauseTime() == nil {
		t.Errorf("%v", p)
	}
	stats, err := d.GetQueueStats(t.Context(), &adminv1.GetQueueStatsRequest{})
	d.must(err)
	if len(stats.GetPauses()) != 2 {
		t.Errorf("%v", stats)
	}
	kept, err := d.store.Pauses(t.Context())
	if err != nil || len(kept) != 2 {
		t.Errorf("on disk: %v %v", kept, err)
	}
	for i, want := range []bool{true, false} {
		r, err := d.queue.ResumeQueue(t.Context(), &adminv1.ResumeQueueRequest{})
		if err != nil || r.GetResumed() != want || len(r.GetPauses()) != 1 {
			t.Errorf("resumed the %d. time: %v %v", i+1, r, err)
		}
	}
	if strings.Contains(d.logs.String(), "搬迁") {
		t.Error("the log has what the operator typed")
	}
}
