package rpc

import (
	"context"
	"fmt"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// CreateUnbinds implements hub.v1.UnbindService.
func (h *handlers) CreateUnbinds(ctx context.Context, r *hubv1.CreateUnbindsRequest) (*hubv1.CreateUnbindsResponse, error) {
	session := sessionOf(ctx)
	ids, err := parsePlatforms(r.GetPlatformIds(), true)
	if err != nil {
		return nil, err
	}
	requestID, err := parseRequestID(r.GetRequestId(), true)
	if err != nil {
		return nil, err
	}
	if !session.Agreed(verify.ScopeUnbind) {
		return nil, fault.ConsentRequired.On("consent.scopes")
	}
	if !seal.IsID(r.GetLookupId()) {
		return nil, fault.LookupNotFound.New()
	}
	if err := h.o.Verify.StillHolder(ctx, session); err != nil {
		return nil, err
	}
	l, err := h.o.Lookup.Get(ctx, session.Subject, r.GetLookupId())
	if err != nil {
		return nil, err
	}
	asked, err := h.asked(l, ids)
	if err != nil {
		return nil, err
	}
	placed, err := h.o.Unbind.Request(ctx, unbind.Request{
		Subject: session.Subject, Number: session.Number, NumberIndex: session.NumberIndex, HolderSince: session.HolderSince,
		LookupID: l.ID, RequestID: requestID, Asked: asked,
	})
	if err != nil {
		return nil, err
	}
	resp := new(hubv1.CreateUnbindsResponse)
	for _, p := range placed {
		resp.Unbinds = append(resp.Unbinds, newUnbind(p, language(ctx)))
	}
	return resp, nil
}

// asked hands each platform's row of the lookup over to the unbind side. A
// platform that is catalogued now but has no row was not looked up.
func (h *handlers) asked(l lookup.Lookup, ids []platform.ID) ([]unbind.Asked, error) {
	rows := make(map[platform.ID]lookup.Row, len(l.Rows))
	for _, r := range l.Rows {
		rows[r.Platform] = r
	}
	joined := make(map[platform.ID]bool) // every catalogued platform, and whether it has joined
	for _, e := range h.o.Catalogue.Entries() {
		joined[e.ID] = e.Address != ""
	}
	var out []unbind.Asked
	for i, id := range ids {
		row, looked := rows[id]
		if _, known := joined[id]; !looked && !known {
			return nil, fault.PlatformUnknown.On(fmt.Sprintf("platformIds[%d]", i))
		}
		out = append(out, unbind.Asked{
			Platform: id, Joined: joined[id], Answered: row.State.Answered(), Accounts: row.Accounts, HolderSince: l.HolderSince,
			Unbindable: h.o.Catalogue.Functions(id).Has(platform.FunctionUnbind),
		})
	}
	return out, nil
}

func newUnbind(p unbind.Placed, lang string) *hubv1.NewUnbind {
	n := &hubv1.NewUnbind{PlatformId: string(p.Platform)}
	if p.Reason != "" {
		n.Error = &hubv1.UnbindError{Reason: string(p.Reason), Message: p.Reason.Text(lang)}
		return n
	}
	state := hubv1.UnbindState(p.Order.State)
	n.UnbindId, n.State, n.DueTime = &p.Order.ID, &state, stamp(p.Order.DueTime)
	return n
}

// ListUnbinds implements hub.v1.UnbindService.
func (h *handlers) ListUnbinds(ctx context.Context, r *hubv1.ListUnbindsRequest) (*hubv1.ListUnbindsResponse, error) {
	before, err := parsePageToken(r.GetPageToken(), seal.IsID)
	if err != nil {
		return nil, err
	}
	size := pageSize(r.GetPageSize(), 50, 200)
	orders, err := h.o.Unbind.List(ctx, sessionOf(ctx).Subject, before, size+1)
	if err != nil {
		return nil, err
	}
	resp := new(hubv1.ListUnbindsResponse)
	if len(orders) > size {
		orders = orders[:size]
		resp.NextPageToken = pageToken(orders[size-1].ID)
	}
	for _, o := range orders {
		resp.Unbinds = append(resp.Unbinds, h.unbindMessage(ctx, o))
	}
	return resp, nil
}

// GetUnbind implements hub.v1.UnbindService.
func (h *handlers) GetUnbind(ctx context.Context, r *hubv1.GetUnbindRequest) (*hubv1.GetUnbindResponse, error) {
	wait, err := parseWait(r.GetWait())
	if err != nil {
		return nil, err
	}
	if !seal.IsID(r.GetUnbindId()) {
		return nil, fault.UnbindNotFound.New()
	}
	if wait > 0 {
		leave, err := h.waits.enter(sessionOf(ctx).Key)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	o, err := h.o.Unbind.Wait(ctx, sessionOf(ctx).Subject, r.GetUnbindId(), wait)
	if err != nil {
		return nil, err
	}
	return &hubv1.GetUnbindResponse{Unbind: h.withReceipt(ctx, o)}, nil
}

// CancelUnbind implements hub.v1.UnbindService.
func (h *handlers) CancelUnbind(ctx context.Context, r *hubv1.CancelUnbindRequest) (*hubv1.CancelUnbindResponse, error) {
	if !seal.IsID(r.GetUnbindId()) {
		return nil, fault.UnbindNotFound.New()
	}
	o, err := h.o.Unbind.Cancel(ctx, sessionOf(ctx).Subject, r.GetUnbindId())
	if err != nil {
		return nil, err
	}
	return &hubv1.CancelUnbindResponse{Unbind: h.withReceipt(ctx, o)}, nil
}

// AppealUnbind implements hub.v1.UnbindService.
func (h *handlers) AppealUnbind(ctx context.Context, r *hubv1.AppealUnbindRequest) (*hubv1.AppealUnbindResponse, error) {
	session := sessionOf(ctx)
	if !session.Agreed(verify.ScopeUnbind) {
		return nil, fault.ConsentRequired.On("consent.scopes")
	}
	if !seal.IsID(r.GetUnbindId()) {
		return nil, fault.UnbindNotFound.New()
	}
	if err := h.o.Verify.StillHolder(ctx, session); err != nil {
		return nil, err
	}
	o, err := h.o.Unbind.Appeal(ctx, session.Subject, r.GetUnbindId(), int(r.GetAppeal()))
	if err != nil {
		return nil, err
	}
	return &hubv1.AppealUnbindResponse{Unbind: h.withReceipt(ctx, o)}, nil
}

// withReceipt is the order as an answer has it that holds no other.
func (h *handlers) withReceipt(ctx context.Context, o unbind.Order) *hubv1.Unbind {
	m := h.unbindMessage(ctx, o)
	m.Receipt = h.receiptOf(o)
	return m
}

func (h *handlers) unbindMessage(ctx context.Context, o unbind.Order) *hubv1.Unbind {
	now := h.o.Now()
	step := nextStep(o, now, language(ctx))
	m := &hubv1.Unbind{
		UnbindId: o.ID, PlatformId: string(o.Platform), DisplayName: h.displayName(o.Platform), State: hubv1.UnbindState(o.State),
		CreateTime: stamp(o.CreateTime), DueTime: stamp(o.DueTime), Overdue: o.Overdue(now), AccountCount: int32(len(o.AccountRefs)),
		NextStep: optional(step), Appeals: int32(o.Appeals),
	}
	if o.State == unbind.ActionRequired {
		m.ActionUrl = optional(o.ActionURL)
	}
	if o.State == unbind.Refused {
		m.Refusal = &hubv1.Refusal{Reason: o.RefusalReason, Text: o.RefusalText, NextStep: step}
	}
	for _, s := range o.History {
		m.History = append(m.History, &hubv1.UnbindHistory{
			State: hubv1.UnbindState(s.State), Time: stamp(s.Time), Attempt: int32(s.Attempt), Reason: optional(s.Reason),
		})
	}
	return m
}

func (h *handlers) displayName(id platform.ID) string {
	for _, e := range h.o.Catalogue.Entries() {
		if e.ID == id {
			return e.DisplayName
		}
	}
	return string(id)
}
