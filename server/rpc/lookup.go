package rpc

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/verify"
)

// pollAfter is how soon a running lookup is worth another look.
const pollAfter = 500 * time.Millisecond

// CreateLookup implements hub.v1.LookupService.
func (h *handlers) CreateLookup(ctx context.Context, r *hubv1.CreateLookupRequest) (*hubv1.CreateLookupResponse, error) {
	ids, err := parsePlatforms(r.GetPlatformIds(), false)
	if err != nil {
		return nil, err
	}
	requestID, err := parseRequestID(r.GetRequestId(), false)
	if err != nil {
		return nil, err
	}
	session := sessionOf(ctx)
	if err := h.o.Verify.StillHolder(ctx, session); err != nil {
		return nil, err
	}
	l, err := h.o.Lookup.Start(ctx, lookup.Request{
		Subject: session.Subject, Number: session.Number, NumberIndex: session.NumberIndex, HolderSince: session.HolderSince,
		SessionKey: session.Key, Platforms: ids, RequestID: requestID, Trace: callerOf(ctx).trace,
	})
	if err != nil {
		return nil, err
	}
	return &hubv1.CreateLookupResponse{Lookup: lookupMessage(l)}, nil
}

// GetLookup implements hub.v1.LookupService.
func (h *handlers) GetLookup(ctx context.Context, r *hubv1.GetLookupRequest) (*hubv1.GetLookupResponse, error) {
	wait, err := parseWait(r.GetWait())
	if err != nil {
		return nil, err
	}
	if !seal.IsID(r.GetLookupId()) {
		return nil, fault.LookupNotFound.New()
	}
	if wait > 0 {
		leave, err := h.waits.enter(sessionOf(ctx).Key)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	l, err := h.o.Lookup.Wait(ctx, sessionOf(ctx).Subject, r.GetLookupId(), wait, int(r.GetSinceRevision()))
	if err != nil {
		return nil, err
	}
	return &hubv1.GetLookupResponse{Lookup: lookupMessage(l)}, nil
}

// WatchLookup implements hub.v1.LookupService.
func (h *handlers) WatchLookup(r *hubv1.WatchLookupRequest, stream hubv1.LookupService_WatchLookupServer) error {
	if !seal.IsID(r.GetLookupId()) {
		return fault.LookupNotFound.New()
	}
	session := sessionOf(stream.Context())
	places := h.waits
	if r.GetUntilFinal() {
		places = h.lateWatches
	}
	leave, err := places.enter(session.Key)
	if err != nil {
		return err
	}
	defer leave()
	if r.GetUntilFinal() {
		return h.watchLate(session, r.GetLookupId(), stream)
	}
	since := 0
	for {
		began := time.Now()
		l, err := h.o.Lookup.Wait(stream.Context(), session.Subject, r.GetLookupId(), maxWait, since)
		if err != nil {
			return err
		}
		if l.Revision > since || l.Complete {
			if err := stream.Send(&hubv1.WatchLookupResponse{Lookup: lookupMessage(l)}); err != nil {
				return fault.RequestCanceled.Wrap(err)
			}
		}
		if l.Complete {
			return nil
		}
		if l.Revision <= since && time.Since(began) < maxWait {
			return fault.ShuttingDown.New() // waits end early only then
		}
		since = l.Revision
	}
}

// watchLate streams a lookup until no late answer is awaited any more or the
// session ends. It sleeps until something changes, however long that takes.
func (h *handlers) watchLate(session verify.Session, id string, stream hubv1.LookupService_WatchLookupServer) error {
	since := 0
	for {
		began, left := time.Now(), session.ExpireTime.Sub(h.o.Now())
		l, err := h.o.Lookup.WaitLate(stream.Context(), session.Subject, id, left, since)
		if err != nil {
			return err
		}
		news, last := l.Revision > since, l.Complete && !l.AwaitsLate(h.o.Now()) || time.Since(began) >= left
		if news {
			if err := stream.Send(&hubv1.WatchLookupResponse{Lookup: lookupMessage(l)}); err != nil {
				return fault.RequestCanceled.Wrap(err)
			}
		}
		switch {
		case last:
			return nil
		case !news:
			return fault.ShuttingDown.New() // waits end early only then
		}
		since = l.Revision
	}
}

func lookupMessage(l lookup.Lookup) *hubv1.Lookup {
	asked, answered, silent := l.Counts()
	m := &hubv1.Lookup{
		LookupId: l.ID, State: hubv1.LookupState_LOOKUP_STATE_RUNNING, Revision: int32(l.Revision),
		Asked: int32(asked), Answered: int32(answered), Silent: int32(silent), FinalBy: stamp(l.FinalBy),
		NextPollAfter: durationpb.New(pollAfter), Answers: make([]*hubv1.Answer, 0, len(l.Rows)),
	}
	if l.Complete {
		m.State, m.NextPollAfter = hubv1.LookupState_LOOKUP_STATE_COMPLETE, nil
	}
	for _, r := range l.Rows {
		m.Answers = append(m.Answers, answerMessage(r, !l.HolderSince.IsZero()))
	}
	return m
}

// answerMessage shows a row. What is not known is absent, never 0.
func answerMessage(r lookup.Row, split bool) *hubv1.Answer {
	a := &hubv1.Answer{
		PlatformId: string(r.Platform), DisplayName: r.DisplayName, Category: r.Category, State: hubv1.AnswerState(r.State),
		Functions: r.Functions.Names(), SelfServiceUrl: optional(r.SelfServiceURL),
	}
	if r.State != platform.Bound && r.State != platform.NotBound {
		return a
	}
	a.AnswerTime = stamp(r.AnswerTime)
	var before, since int32
	for _, x := range r.Accounts {
		switch x.Period {
		case platform.BeforeHolder:
			before++
		case platform.SinceHolder:
			since++
		}
		if x.Product != "" && !slices.Contains(a.Products, x.Product) {
			a.Products = append(a.Products, x.Product)
		}
	}
	count := int32(len(r.Accounts))
	a.AccountCount = &count
	if split {
		a.BoundBeforeHolder, a.BoundSinceHolder = &before, &since
	}
	return a
}
