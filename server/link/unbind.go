package link

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	// callWithin bounds an unbind call, whatever deadline the caller has.
	callWithin = 30 * time.Second
	// oldestState bounds how far back a platform may date a state.
	oldestState = 180 * 24 * time.Hour
)

// Unbind sends an order and says where it stands. It takes 30 s at most.
func (r *remote) Unbind(ctx context.Context, o platform.UnbindOrder) (platform.Report, error) {
	ctx, end := r.within(ctx, callWithin)
	defer end()
	req := &connectorv1.RequestUnbindRequest{
		OrderId:     o.OrderID,
		PhoneNumber: o.Number.E164(),
		AccountRefs: o.AccountRefs,
		Reason:      connectorv1.UnbindReason_UNBIND_REASON_HOLDER_REQUEST,
		Attempt:     int32(min(max(o.Attempt, 1), 1<<30)),
		DueTime:     timestamppb.New(o.DueTime),
		Appeal:      int32(min(max(o.Appeal, 0), 1<<30)),
	}
	if !o.BoundBefore.IsZero() {
		req.BoundBefore = timestamppb.New(o.BoundBefore)
	}
	ctx, traced := r.traced(ctx)
	resp, err := r.client.RequestUnbind(ctx, req)
	traced(status.Code(err))
	if err != nil {
		return platform.Report{}, r.failed(err)
	}
	return checkReport(resp.GetResult(), r.opts.now())
}

// traced begins the span of an attempt, whose trace context the platform gets.
func (r *remote) traced(ctx context.Context) (context.Context, func(codes.Code)) {
	if r.opts.Span == nil {
		return ctx, func(codes.Code) {}
	}
	child, end := r.opts.Span("", r.Info().ID, "unbind")
	if child != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", child)
	}
	return ctx, func(c codes.Code) { end(strings.ToLower(codeName(c))) }
}

// UnbindStatus asks where an order stands. It takes 30 s at most.
func (r *remote) UnbindStatus(ctx context.Context, orderID string) (platform.Report, error) {
	ctx, end := r.within(ctx, callWithin)
	defer end()
	resp, err := r.client.GetUnbind(ctx, &connectorv1.GetUnbindRequest{OrderId: orderID})
	if err != nil {
		return platform.Report{}, r.failed(err)
	}
	return checkReport(resp.GetResult(), r.opts.now())
}

// failed is callError, but a call that ended because the platform left could be
// repeated and was not cancelled by its caller.
func (r *remote) failed(err error) error {
	if r.ctx.Err() != nil {
		return &platform.CallError{Code: "UNAVAILABLE"}
	}
	return callError(err)
}

// checkReport reads where an order stands. Errors are *platform.CallError with
// MALFORMED: what the platform did is unknown then, and the order is repeated.
func checkReport(u *connectorv1.UnbindResult, now time.Time) (platform.Report, error) {
	malformed := &platform.CallError{Code: platform.CodeMalformed}
	rep := platform.Report{Time: stateTime(u.GetStateTime(), now)}
	switch u.GetState() {
	case connectorv1.UnbindState_UNBIND_STATE_ACCEPTED, connectorv1.UnbindState_UNBIND_STATE_IN_REVIEW:
		rep.Stage = platform.StageInReview
	case connectorv1.UnbindState_UNBIND_STATE_COMPLETED:
		rep.Stage = platform.StageCompleted
	case connectorv1.UnbindState_UNBIND_STATE_REFUSED:
		rep.Stage = platform.StageRefused
		rep.RefusalReason = strings.TrimPrefix(u.GetRefusalReason().String(), "REFUSAL_REASON_")
		rep.RefusalText = platform.CleanText(u.GetRefusalText(), platform.MaxRefusalText)
		if !platform.IsRefusalReason(rep.RefusalReason) {
			return platform.Report{}, malformed
		}
	case connectorv1.UnbindState_UNBIND_STATE_ACTION_REQUIRED:
		rep.Stage = platform.StageActionRequired
		rep.ActionURL = u.GetActionUrl()
		if !platform.IsPageURL(rep.ActionURL) {
			return platform.Report{}, malformed
		}
	default:
		return platform.Report{}, malformed
	}
	open := rep.Stage == platform.StageInReview || rep.Stage == platform.StageActionRequired
	if d := u.GetCheckAfter(); open && d != nil && d.IsValid() {
		rep.CheckAfter = keepWait(d.AsDuration())
	}
	return rep, nil
}

// stateTime is the platform's time for a state where it is sane, and now where
// it is missing, invalid, in the future or older than 180 days: an order's
// history must stay in order.
func stateTime(t *timestamppb.Timestamp, now time.Time) time.Time {
	if t == nil || !t.IsValid() {
		return now
	}
	when := t.AsTime()
	if when.After(now) || when.Before(now.Add(-oldestState)) {
		return now
	}
	return when
}
