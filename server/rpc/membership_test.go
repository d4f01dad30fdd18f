package rpc_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	inReview  = hubv1.ReportedState_REPORTED_STATE_IN_REVIEW
	action    = hubv1.ReportedState_REPORTED_STATE_ACTION_REQUIRED
	completed = hubv1.ReportedState_REPORTED_STATE_COMPLETED
	refused   = hubv1.ReportedState_REPORTED_STATE_REFUSED
)

// member is a platform's own client.
type member struct {
	hubv1.MembershipServiceClient
	w *world
}

func (w *world) member(id string) member {
	w.Helper()
	return member{hubv1.NewMembershipServiceClient(w.as(pki.RolePlatform, id)), w}
}

func report(id string, s hubv1.ReportedState) *hubv1.ReportUnbindRequest {
	r := &hubv1.ReportUnbindRequest{OrderId: id, State: s}
	switch s {
	case refused:
		r.RefusalReason, r.RefusalText = "HAS_BALANCE", "账户有余额"
	case action:
		r.ActionUrl = "https://shop.example/unbind?x=1"
	}
	return r
}

// says reports and checks whether that moved the order, and to where.
func (m member) says(r *hubv1.ReportUnbindRequest, applied bool, state string) {
	m.w.Helper()
	resp, err := m.ReportUnbind(m.w.Context(), r)
	if err != nil || resp.GetApplied() != applied || resp.GetState() != state {
		m.w.Errorf("%v: %v %v, want %v %s", r.GetState(), resp, err, applied, state)
	}
}

// withOrder runs a story with an order at shop.
func withOrder(t *testing.T, story func(w *world, p *person, shop member, id string)) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		story(w, p, w.member("shop"), p.orderAt("shop"))
	})
}

func TestReportsInOrder(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, inReview), true, "IN_REVIEW")
		w.pass(time.Second)
		shop.says(report(id, action), true, "ACTION_REQUIRED")
		if o := p.get(id); o.GetActionUrl() != "https://shop.example/unbind?x=1" {
			w.Errorf("%v", o)
		}
		w.pass(time.Second)
		shop.says(report(id, inReview), true, "IN_REVIEW")
		w.pass(10 * 24 * time.Hour)
		shop.says(report(id, completed), true, "COMPLETED")
		w.pass(time.Minute)
		if o := w.person().get(id); o.GetState() != hubv1.UnbindState_UNBIND_STATE_COMPLETED || o.ActionUrl != nil {
			w.Errorf("%v", o)
		}
	})
}

func TestReportsOutOfOrder(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, completed), true, "COMPLETED") // before it was accepted
		for _, s := range []hubv1.ReportedState{inReview, action, refused, completed} {
			shop.says(report(id, s), false, "COMPLETED")
		}
		if o := p.get(id); len(o.GetHistory()) != 2 || o.Refusal != nil || o.ActionUrl != nil {
			w.Errorf("%v", o)
		}
	})
	withOrder(t, func(w *world, p *person, shop member, id string) {
		shop.says(report(id, refused), true, "REFUSED")
		shop.says(report(id, completed), false, "REFUSED") // done after refused
		if r := p.get(id).GetRefusal(); r.GetReason() != "HAS_BALANCE" || r.GetText() != "账户有余额" || r.GetNextStep() == "" {
			w.Errorf("%v", r)
		}
	})
}

func TestReportAThousandTimes(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		changed := make(chan error, 1)
		go func() {
			_, err := p.unbinds.GetUnbind(p.ctx, &hubv1.GetUnbindRequest{UnbindId: id, Wait: durationpb.New(20 * time.Second)})
			changed <- err
		}()
		var applied int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				resp, err := shop.ReportUnbind(w.Context(), report(id, completed))
				mu.Lock()
				defer mu.Unlock()
				if err != nil || resp.GetState() != "COMPLETED" {
					w.Errorf("%v %v", resp, err)
				}
				if resp.GetApplied() {
					applied++
				}
			})
		}
		all.Wait()
		if err := <-changed; applied != 1 || err != nil || len(p.get(id).GetHistory()) != 2 {
			w.Errorf("%d applied, the wait ended with %v", applied, err)
		}
	})
}

func TestReportsOfStrangers(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		chat := w.member("chat")
		for what, c := range map[string]struct {
			m  member
			id string
		}{"another platform's": {chat, id}, "unknown": {shop, noID}, "empty": {shop, ""}, "NUL": {shop, id[:25] + "\x00"}, "huge": {shop, strings.Repeat("0", 100_000)}} {
			_, err := c.m.ReportUnbind(w.Context(), report(c.id, completed))
			if got := w.wants(what, err, "UNBIND_NOT_FOUND", ""); got.code != codes.NotFound {
				w.Errorf("%s: %v", what, got.code)
			}
		}
		if o := p.get(id); o.GetState() != hubv1.UnbindState_UNBIND_STATE_QUEUED {
			w.Errorf("%v", o.GetState())
		}
	})
}

func TestRefusedReports(t *testing.T) {
	type r = hubv1.ReportUnbindRequest
	link := func(s string) func(*r) { return func(r *r) { r.ActionUrl = s } }
	withOrder(t, func(w *world, p *person, shop member, id string) {
		w.secret(number)
		for what, c := range map[string]struct {
			state  hubv1.ReportedState
			change func(*r)
			field  string
		}{
			"no state":          {0, func(*r) {}, "state"},
			"unknown state":     {99, func(*r) {}, "state"},
			"negative state":    {-1, func(*r) {}, "state"},
			"no reason":         {refused, func(r *r) { r.RefusalReason = "" }, "refusalReason"},
			"unknown reason":    {refused, func(r *r) { r.RefusalReason = "BECAUSE" }, "refusalReason"},
			"prefixed reason":   {refused, func(r *r) { r.RefusalReason = "REFUSAL_REASON_HAS_BALANCE" }, "refusalReason"},
			"no page":           {action, link(""), "actionUrl"},
			"http":              {action, link("http://shop.example/"), "actionUrl"},
			"script":            {action, link("javascript:alert(1)"), "actionUrl"},
			"data":              {action, link("data:text/html,x"), "actionUrl"},
			"no host":           {action, link("https:///x"), "actionUrl"},
			"a user":            {action, link("https://shop.example@evil.example/"), "actionUrl"},
			"a line break":      {action, link("https://shop.example/\r\nSet-Cookie: a"), "actionUrl"},
			"not ASCII":         {action, link("https://shop.example/\u202e"), "actionUrl"},
			"a space":           {action, link("https://shop.example/ x"), "actionUrl"},
			"long":              {action, link("https://shop.example/" + strings.Repeat("a", 500)), "actionUrl"},
			"state_time ahead":  {completed, func(r *r) { r.StateTime = timestamppb.New(time.Now().AddDate(1, 0, 0)) }, "stateTime"},
			"state_time broken": {completed, func(r *r) { r.StateTime = &timestamppb.Timestamp{Seconds: 1 << 60} }, "stateTime"},
			"negative nanos":    {completed, func(r *r) { r.StateTime = &timestamppb.Timestamp{Nanos: -1} }, "stateTime"},
		} {
			req := report(id, c.state)
			c.change(req)
			_, err := shop.ReportUnbind(w.Context(), req)
			reason := "REPORT_INVALID"
			if c.field == "stateTime" {
				reason = "TIME_INVALID"
			}
			w.wants(what, err, reason, c.field)
		}
		if o := p.get(id); len(o.GetHistory()) != 1 {
			w.Errorf("%v", o)
		}
		shop.says(report(id, completed), true, "COMPLETED") // nothing was lost
	})
}

func TestRefusalTextsAreCleaned(t *testing.T) {
	for sent, kept := range map[string]string{
		"a\u202eb": "ab", "a\u2066b": "ab", "a\u200bb": "ab", "a\u2028b": "a b", "a\x1b[31mb": "a[31mb", "a\x00b": "ab",
		"机主为 " + number: "机主为 *******", "call 139 1234 9876": "call *******", "１３９１２３４９８７６": "*******",
		strings.Repeat("长", 201): strings.Repeat("长", 200),
	} {
		withOrder(t, func(w *world, p *person, shop member, id string) {
			r := report(id, refused)
			r.RefusalText = sent
			shop.says(r, true, "REFUSED")
			if got := p.get(id).GetRefusal(); got.GetText() != kept || got.GetReason() != "HAS_BALANCE" {
				w.Errorf("%q is kept as %v, want %q", sent, got, kept)
			}
		})
	}
}

func TestTimesOfReports(t *testing.T) {
	withOrder(t, func(w *world, p *person, shop member, id string) {
		at := func(s hubv1.ReportedState, d time.Duration) *hubv1.ReportUnbindRequest {
			r := report(id, s)
			r.StateTime = timestamppb.New(time.Now().Add(d))
			return r
		}
		shop.says(at(inReview, -365*24*time.Hour), true, "IN_REVIEW") // a clock a year behind moves an order, too
		shop.says(at(action, 59*time.Second), true, "ACTION_REQUIRED")
		w.pass(time.Second)
		shop.says(at(inReview, 0), true, "IN_REVIEW") // the clock ahead did not make this look old
		w.pass(time.Second)
		shop.says(at(action, -10*24*time.Hour), false, "IN_REVIEW") // late: something newer is known
		shop.says(at(completed, -10*24*time.Hour), true, "COMPLETED")
		for i, h := range p.get(id).GetHistory() {
			if h.GetTime().AsTime().After(time.Now()) || h.GetTime().AsTime().Before(holderSince) {
				w.Errorf("step %d at %v", i, h.GetTime().AsTime())
			}
		}
	})
}

func TestReportsOfASuspendedMember(t *testing.T) {
	withOrder(t, func(w *world, _ *person, shop member, id string) {
		w.peers["shop"].set(func(p *peer) { p.suspended = true })
		shop.says(report(id, completed), true, "COMPLETED")
	})
}

func TestCheckNumber(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		shop := w.member("shop")
		ask := func() *hubv1.CheckNumberRequest {
			return &hubv1.CheckNumberRequest{PhoneNumber: number, Since: timestamppb.New(holderSince)}
		}
		w.secret(number)
		for change, want := range map[platform.HolderChange]hubv1.NumberChange{
			platform.ChangeNoData: hubv1.NumberChange_NUMBER_CHANGE_NO_DATA, platform.ChangeNone: hubv1.NumberChange_NUMBER_CHANGE_UNCHANGED,
			platform.ChangeHands: hubv1.NumberChange_NUMBER_CHANGE_CHANGED,
		} {
			w.carrier.say(func(c *carrier) { c.change = change })
			resp, err := shop.CheckNumber(w.Context(), ask())
			if err != nil || resp.GetChange() != want || !resp.GetDataHorizon().AsTime().Equal(holderSince) {
				w.Errorf("%v: %v %v", change, resp, err)
			}
		}
		for what, c := range map[string]struct {
			change        func(*hubv1.CheckNumberRequest)
			reason, field string
		}{
			"no number":  {func(r *hubv1.CheckNumberRequest) { r.PhoneNumber = "" }, "PHONE_INVALID", "phoneNumber"},
			"bad number": {func(r *hubv1.CheckNumberRequest) { r.PhoneNumber = number + "0" }, "PHONE_INVALID", "phoneNumber"},
			"no time":    {func(r *hubv1.CheckNumberRequest) { r.Since = nil }, "TIME_INVALID", "since"},
			"future":     {func(r *hubv1.CheckNumberRequest) { r.Since = timestamppb.New(time.Now().AddDate(1, 0, 0)) }, "TIME_INVALID", "since"},
			"bad time":   {func(r *hubv1.CheckNumberRequest) { r.Since = &timestamppb.Timestamp{Seconds: -1 << 60} }, "TIME_INVALID", "since"},
		} {
			r := ask()
			c.change(r)
			_, err := shop.CheckNumber(w.Context(), r)
			w.wants(what, err, c.reason, c.field)
		}
		w.carrier.say(func(c *carrier) { c.err = errDown })
		_, err := shop.CheckNumber(w.Context(), ask())
		if got := w.wants("no carrier", err, "CARRIER_UNAVAILABLE", ""); got.retry <= 0 {
			w.Error("it does not say how long to wait")
		}
	})
}

func TestCheckRatePerPlatform(t *testing.T) {
	inWorld(t, func(s *settings) { s.checksPerSecond = 2 }, func(w *world) {
		check := func(m member) error {
			_, err := m.CheckNumber(context.Background(), &hubv1.CheckNumberRequest{PhoneNumber: number, Since: timestamppb.New(holderSince)})
			return err
		}
		shop, chat := w.member("shop"), w.member("chat")
		for range 2 {
			w.must(check(shop))
		}
		got := w.wants("the third of a second", check(shop), "CHECK_RATE", "")
		if got.retry != 500*time.Millisecond {
			w.Errorf("retry after %v", got.retry)
		}
		w.must(check(chat)) // each has its own
		w.pass(got.retry)
		w.must(check(shop))
		w.wants("again", check(shop), "CHECK_RATE", "")
	})
}

func TestCheckNumberWithoutCarrier(t *testing.T) {
	inWorld(t, func(s *settings) { s.noCarrier = true }, func(w *world) {
		resp, err := w.member("shop").CheckNumber(w.Context(), &hubv1.CheckNumberRequest{PhoneNumber: number, Since: timestamppb.New(holderSince)})
		if err != nil || resp.GetChange() != hubv1.NumberChange_NUMBER_CHANGE_NO_DATA {
			w.Errorf("%v %v", resp, err)
		}
	})
}
