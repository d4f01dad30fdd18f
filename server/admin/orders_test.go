package admin_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

func (d *desk) list(p, state string, limit int32) []*adminv1.Unbind {
	d.Helper()
	resp, err := d.ListUnbinds(d.Context(), &adminv1.ListUnbindsRequest{PlatformId: p, State: state, Limit: limit})
	d.must(err)
	d.noNumber(resp)
	return resp.GetUnbinds()
}

func TestOrders(t *testing.T) {
	d := newDesk(t)
	first, second := d.order("chat"), d.order("shop")
	d.refuse(first)
	if all := d.list("", "", 0); len(all) != 2 || all[0].GetUnbindId() < all[1].GetUnbindId() || len(all[0].GetHistory()) != 0 {
		t.Errorf("%v", all)
	}
	for _, c := range []struct {
		platform, state string
		limit           int32
		want            int
	}{{"chat", "", 0, 1}, {"", "REFUSED", 0, 1}, {"shop", "REFUSED", 0, 0}, {"", "", 1, 1}, {"", "", -5, 2}, {"", "", 1 << 30, 2}, {"nobody", "", 0, 0}} {
		if got := d.list(c.platform, c.state, c.limit); len(got) != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	got, err := d.GetUnbind(t.Context(), &adminv1.GetUnbindRequest{UnbindId: first.ID})
	d.must(err)
	u := got.GetUnbind()
	if u.GetState() != "REFUSED" || u.GetRefusalReason() != "HAS_BALANCE" || len(u.GetHistory()) != 2 || u.GetOverdue() || u.NextTime != nil || u.GetPlatformId() != "chat" {
		t.Errorf("%v", u)
	}
	d.noNumber(got)
	if d.list("shop", "", 0)[0].GetUnbindId() != second.ID {
		t.Error("the wrong order")
	}
}

func TestUnknownOrdersAndStates(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"", "x", "00000000000000000000000000", strings.Repeat("0", 10_000), "a\x00b"} {
		_, err := d.GetUnbind(t.Context(), &adminv1.GetUnbindRequest{UnbindId: id})
		d.wants("get "+id, err, fault.UnbindNotFound, "")
	}
	for _, s := range []string{"queued", "DONE", "UNBIND_STATE_QUEUED", "\x00"} {
		_, err := d.ListUnbinds(t.Context(), &adminv1.ListUnbindsRequest{State: s})
		d.wants("state "+s, err, fault.StateInvalid, "state")
	}
}

func TestQueueStats(t *testing.T) {
	d := newDesk(t)
	d.refuse(d.order("chat"))
	d.order("shop")
	stats := func() []*adminv1.QueueStats {
		t.Helper()
		resp, err := d.GetQueueStats(t.Context(), &adminv1.GetQueueStatsRequest{})
		d.must(err)
		return resp.GetPlatforms()
	}
	if s := stats(); len(s) != 2 || s[0].GetRefused() != 1 || s[1].GetQueued() != 1 || s[1].GetSending() != 0 {
		t.Errorf("%v", s)
	}
	claims, _, err := d.store.Claim(t.Context(), unbind.ClaimRequest{Now: time.Now(), Lease: time.Hour, Max: 5, Free: func(platform.ID) int { return 5 }})
	if err != nil || len(claims) != 1 {
		t.Fatalf("%v %v", claims, err)
	}
	if s := stats(); s[1].GetQueued() != 0 || s[1].GetSending() != 1 {
		t.Errorf("%v", s)
	}
	if l := d.list("", "SENDING", 0); len(l) != 1 || l[0].GetPlatformId() != "shop" {
		t.Errorf("%v", l)
	}
}

// failing are orders that can't be read.
type failing struct{}

var errBroken = errors.New("broken page of /secret")

func (failing) AnyOrder(context.Context, string) (unbind.Order, error) {
	return unbind.Order{}, errBroken
}
func (failing) AllOrders(context.Context, platform.ID, unbind.State, int) ([]unbind.Order, error) {
	return nil, errBroken
}
func (failing) OrderCounts(context.Context, time.Time) (map[platform.ID]coverage.Orders, error) {
	return nil, errBroken
}
func (failing) OpenOrders(context.Context, unbind.OpenOrderQuery) ([]unbind.Order, string, error) {
	return nil, "", errBroken
}
func (failing) Sending(time.Time) map[platform.ID]int64 { return nil }

func TestOrdersThatCannotBeRead(t *testing.T) {
	d := newDesk(t, func(d *desk) { d.orders = failing{} })
	_, get := d.GetUnbind(t.Context(), &adminv1.GetUnbindRequest{})
	_, list := d.ListUnbinds(t.Context(), &adminv1.ListUnbindsRequest{})
	_, stats := d.GetQueueStats(t.Context(), &adminv1.GetQueueStatsRequest{})
	for what, err := range map[string]error{"get": get, "list": list, "stats": stats} {
		d.wants(what, err, fault.InternalError, "")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}
