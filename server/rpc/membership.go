package rpc

import (
	"context"
	"fmt"
	"time"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
)

// ReportUnbind implements hub.v1.MembershipService.
func (h *handlers) ReportUnbind(ctx context.Context, r *hubv1.ReportUnbindRequest) (*hubv1.ReportUnbindResponse, error) {
	if !seal.IsID(r.GetOrderId()) {
		return nil, fault.UnbindNotFound.New()
	}
	report, err := parseReport(r, h.o.Now())
	if err != nil {
		return nil, err
	}
	o, changed, err := h.o.Unbind.Report(ctx, platformOf(ctx), r.GetOrderId(), report)
	if err != nil {
		return nil, err
	}
	return &hubv1.ReportUnbindResponse{Applied: changed, State: o.State.String()}, nil
}

func parseReport(r *hubv1.ReportUnbindRequest, now time.Time) (platform.Report, error) {
	out := platform.Report{Time: now, Untimed: true}
	switch r.GetState() {
	case hubv1.ReportedState_REPORTED_STATE_IN_REVIEW:
		out.Stage = platform.StageInReview
	case hubv1.ReportedState_REPORTED_STATE_COMPLETED:
		out.Stage = platform.StageCompleted
	case hubv1.ReportedState_REPORTED_STATE_ACTION_REQUIRED:
		out.Stage, out.ActionURL = platform.StageActionRequired, r.GetActionUrl()
		if !platform.IsPageURL(out.ActionURL) {
			return out, fault.ReportInvalid.On("actionUrl")
		}
	case hubv1.ReportedState_REPORTED_STATE_REFUSED:
		// A text is made harmless, as in an answer; a refusal is never lost over it.
		out.Stage, out.RefusalReason = platform.StageRefused, r.GetRefusalReason()
		out.RefusalText = platform.CleanText(r.GetRefusalText(), platform.MaxRefusalText)
		if !platform.IsRefusalReason(out.RefusalReason) {
			return out, fault.ReportInvalid.On("refusalReason")
		}
	default:
		return out, fault.ReportInvalid.On("state")
	}
	if ts := r.GetStateTime(); ts != nil {
		at, err := parsePast(ts, "stateTime", now)
		if err != nil {
			return out, err
		}
		if !at.After(now) { // a clock ahead of ours must not make the next word look old
			out.Time, out.Untimed = at, false
		}
	}
	return out, nil
}

// CheckNumber implements hub.v1.MembershipService.
func (h *handlers) CheckNumber(ctx context.Context, r *hubv1.CheckNumberRequest) (*hubv1.CheckNumberResponse, error) {
	number, err := phone.ParseNumber(r.GetPhoneNumber())
	if err != nil {
		return nil, err
	}
	since, err := parsePast(r.GetSince(), "since", h.o.Now())
	if err != nil {
		return nil, err
	}
	if wait := h.checks.wait(string(platformOf(ctx))); wait > 0 {
		return nil, fault.CheckRate.New().WithRetry(wait)
	}
	if h.o.Carrier == nil {
		return &hubv1.CheckNumberResponse{Change: hubv1.NumberChange_NUMBER_CHANGE_NO_DATA}, nil
	}
	change, horizon, err := h.o.Carrier.CheckHolder(ctx, number, since)
	if err != nil {
		return nil, fault.CarrierUnavailable.Wrap(fmt.Errorf("check holder: %w", err)).WithRetry(5 * time.Second)
	}
	resp := &hubv1.CheckNumberResponse{Change: hubv1.NumberChange_NUMBER_CHANGE_NO_DATA, DataHorizon: stamp(horizon)}
	switch change {
	case platform.ChangeNone:
		resp.Change = hubv1.NumberChange_NUMBER_CHANGE_UNCHANGED
	case platform.ChangeHands:
		resp.Change = hubv1.NumberChange_NUMBER_CHANGE_CHANGED
	}
	return resp, nil
}
