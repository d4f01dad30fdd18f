package admin

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

// The limits of what an operator writes and asks for.
const (
	longestNote = 200 // characters
	longestName = 64
	mostIDs     = 1000
	fastest     = 1000 // replays in a second
	slowest     = 1.0 / 3600
)

type queueService struct {
	adminv1.UnimplementedQueueServiceServer
	*service
}

// ListOpenOrders implements admin.v1.QueueService.
func (s *queueService) ListOpenOrders(ctx context.Context, r *adminv1.ListOpenOrdersRequest) (*adminv1.ListOpenOrdersResponse, error) {
	q := unbind.OpenOrderQuery{Platform: platform.ID(r.GetPlatformId()), Overdue: r.GetOverdue(), After: r.GetPageToken(), Limit: rows(r.GetLimit())}
	if r.GetState() != "" {
		var ok bool
		if q.State, ok = unbind.ParseState(r.GetState()); !ok || q.State.Final() {
			return nil, fault.StateInvalid.On("state")
		}
	}
	if !isPageToken(q.After) {
		return nil, fault.PageTokenInvalid.On("pageToken")
	}
	orders, next, err := s.o.Orders.OpenOrders(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list open orders: %w", err)
	}
	return &adminv1.ListOpenOrdersResponse{Unbinds: s.listed(orders), NextPageToken: next}, nil
}

// listed are the orders as a list shows them.
func (s *service) listed(orders []unbind.Order) []*adminv1.Unbind {
	var out []*adminv1.Unbind
	for _, o := range orders {
		m := s.orderMessage(o)
		m.History, m.Note = nil, ""
		out = append(out, m)
	}
	return out
}

// rows is how many rows a list has.
func rows(limit int32) int {
	if limit <= 0 {
		return usualRows
	}
	return min(int(limit), mostRows)
}

var pageTokenForm = regexp.MustCompile(`^[0-9a-f]{0,512}$`)

// isPageToken reports whether s may be one of ours; it is a key of the store in
// hexadecimal.
func isPageToken(s string) bool { return pageTokenForm.MatchString(s) && len(s)%2 == 0 }

// isNote reports whether a text of an operator's may be kept: it shall say why,
// and not whose number it is about.
func isNote(s string, longest int) bool {
	return platform.IsPlainText(s, longest) && !platform.HoldsNumber(s)
}

// PauseQueue implements admin.v1.QueueService.
func (s *queueService) PauseQueue(ctx context.Context, r *adminv1.PauseQueueRequest) (*adminv1.PauseQueueResponse, error) {
	p := unbind.Pause{Platform: platform.ID(r.GetPlatformId()), Reason: strings.TrimSpace(r.GetReason()), By: strings.TrimSpace(r.GetBy())}
	if p.Platform != "" {
		if _, ok := s.o.Catalogue.Known(p.Platform); !ok {
			return nil, fault.PlatformUnknown.On("platformId")
		}
	}
	if p.Reason == "" || !isNote(p.Reason, longestNote) {
		return nil, fault.NoteInvalid.On("reason")
	}
	if !isNote(p.By, longestName) {
		return nil, fault.NoteInvalid.On("by")
	}
	if err := s.o.Pauses.Pause(ctx, p); err != nil {
		return nil, fmt.Errorf("pause: %w", err)
	}
	return &adminv1.PauseQueueResponse{Pauses: s.pauses()}, nil
}

// ResumeQueue implements admin.v1.QueueService.
func (s *queueService) ResumeQueue(ctx context.Context, r *adminv1.ResumeQueueRequest) (*adminv1.ResumeQueueResponse, error) {
	resumed, err := s.o.Pauses.Resume(ctx, platform.ID(r.GetPlatformId()))
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	return &adminv1.ResumeQueueResponse{Resumed: resumed, Pauses: s.pauses()}, nil
}

// pauses are those in force.
func (s *service) pauses() []*adminv1.QueuePause {
	if s.o.Pauses == nil {
		return nil
	}
	var out []*adminv1.QueuePause
	for _, p := range s.o.Pauses.All() {
		out = append(out, &adminv1.QueuePause{PlatformId: string(p.Platform), PauseTime: stamp(p.Time), Reason: p.Reason, By: p.By})
	}
	return out
}

// ListDeadLetters implements admin.v1.QueueService.
func (s *queueService) ListDeadLetters(ctx context.Context, r *adminv1.ListDeadLettersRequest) (*adminv1.ListDeadLettersResponse, error) {
	q, err := s.query("filter", r.GetFilter())
	if err != nil {
		return nil, err
	}
	if !isPageToken(r.GetPageToken()) {
		return nil, fault.PageTokenInvalid.On("pageToken")
	}
	q.After, q.Limit = r.GetPageToken(), rows(r.GetLimit())
	orders, next, err := s.o.Unbinds.DeadLetters(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return &adminv1.ListDeadLettersResponse{Unbinds: s.listed(orders), NextPageToken: next}, nil
}

var reasonForm = regexp.MustCompile(`^[A-Z0-9_]{0,64}$`)

// query reads a filter that stands at a path of a request.
func (s *queueService) query(path string, f *adminv1.DeadLetterFilter) (unbind.DeadLetterQuery, error) {
	q := unbind.DeadLetterQuery{Platform: platform.ID(f.GetPlatformId()), Reason: f.GetReason()}
	if !reasonForm.MatchString(q.Reason) {
		return q, fault.SelectionInvalid.On(path + ".reason")
	}
	if f.GetOlderThan() != nil {
		if err := f.GetOlderThan().CheckValid(); err != nil || f.GetOlderThan().AsDuration() < 0 {
			return q, fault.SelectionInvalid.On(path + ".olderThan")
		}
		q.Before = s.o.Now().Add(-f.GetOlderThan().AsDuration())
	}
	return q, nil
}

// choice reads a selection. Nothing but `all` stands for all: a filter that was
// forgotten must not.
func (s *queueService) choice(sel *adminv1.DeadLetterSelection) (unbind.DeadLetterChoice, error) {
	ids, f := sel.GetUnbindIds(), sel.GetFilter()
	filtered := f.GetPlatformId() != "" || f.GetReason() != "" || f.GetOlderThan() != nil
	switch {
	case len(ids) > mostIDs:
		return unbind.DeadLetterChoice{}, fault.SelectionInvalid.On("selection.unbindIds")
	case len(ids) > 0 && (filtered || sel.GetAll()), filtered && sel.GetAll():
		return unbind.DeadLetterChoice{}, fault.SelectionInvalid.On("selection")
	case len(ids) == 0 && !filtered && !sel.GetAll():
		return unbind.DeadLetterChoice{}, fault.SelectionInvalid.On("selection")
	case sel.GetLimit() < 0:
		return unbind.DeadLetterChoice{}, fault.SelectionInvalid.On("selection.limit")
	}
	c := unbind.DeadLetterChoice{Limit: int(sel.GetLimit())}
	for i, id := range ids {
		if !seal.IsID(id) {
			return unbind.DeadLetterChoice{}, fault.SelectionInvalid.On(fmt.Sprintf("selection.unbindIds[%d]", i))
		}
		if !slices.Contains(c.IDs, id) {
			c.IDs = append(c.IDs, id)
		}
	}
	var err error
	c.Query, err = s.query("selection.filter", f)
	return c, err
}

// ReplayDeadLetters implements admin.v1.QueueService.
func (s *queueService) ReplayDeadLetters(r *adminv1.ReplayDeadLettersRequest, stream grpc.ServerStreamingServer[adminv1.ReplayDeadLettersResponse]) error {
	if rate := r.GetPerSecond(); !(rate >= slowest && rate <= fastest) { // NaN too
		return fault.SelectionInvalid.On("perSecond")
	}
	send := func(p *adminv1.DeadLetterProgress) error {
		return stream.Send(&adminv1.ReplayDeadLettersResponse{Progress: p})
	}
	return s.work(stream.Context(), r.GetSelection(), send, func(c unbind.DeadLetterChoice, tell func(unbind.DeadLetterResult) error) error {
		return s.o.Unbinds.ReplayDeadLetters(stream.Context(), c, r.GetPerSecond(), tell)
	})
}

// DiscardDeadLetters implements admin.v1.QueueService.
func (s *queueService) DiscardDeadLetters(r *adminv1.DiscardDeadLettersRequest, stream grpc.ServerStreamingServer[adminv1.DiscardDeadLettersResponse]) error {
	note := strings.TrimSpace(r.GetNote())
	if note == "" || !isNote(note, longestNote) {
		return fault.NoteInvalid.On("note")
	}
	send := func(p *adminv1.DeadLetterProgress) error {
		return stream.Send(&adminv1.DiscardDeadLettersResponse{Progress: p})
	}
	return s.work(stream.Context(), r.GetSelection(), send, func(c unbind.DeadLetterChoice, tell func(unbind.DeadLetterResult) error) error {
		return s.o.Unbinds.DiscardDeadLetters(stream.Context(), c, note, tell)
	})
}

// work counts what is selected, and does it unless it is only to be counted.
func (s *queueService) work(ctx context.Context, sel *adminv1.DeadLetterSelection, send func(*adminv1.DeadLetterProgress) error,
	do func(unbind.DeadLetterChoice, func(unbind.DeadLetterResult) error) error,
) error {
	c, err := s.choice(sel)
	if err != nil {
		return err
	}
	first, err := s.count(ctx, c)
	if err != nil {
		return err
	}
	if err := send(first); err != nil || sel.GetDryRun() {
		return err
	}
	p := adminv1.DeadLetterProgress{Total: first.GetTotal()}
	return do(c, func(r unbind.DeadLetterResult) error {
		m := &adminv1.DeadLetterProgress{Total: p.GetTotal()}
		if r.Failed == "" {
			p.Done++
		} else {
			p.Failed++
			m.Failure = &adminv1.DeadLetterFailure{UnbindId: r.ID, Reason: string(r.Failed)}
		}
		m.Done, m.Failed = p.GetDone(), p.GetFailed()
		return send(m)
	})
}

// count is the first message: how many are chosen, and which.
func (s *queueService) count(ctx context.Context, c unbind.DeadLetterChoice) (*adminv1.DeadLetterProgress, error) {
	if n := len(c.IDs); n > 0 {
		if c.Limit > 0 {
			n = min(n, c.Limit)
		}
		return &adminv1.DeadLetterProgress{Total: int64(n)}, nil
	}
	counts, err := s.o.Unbinds.CountDeadLetters(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	m := new(adminv1.DeadLetterProgress)
	for _, n := range counts {
		m.Total += int64(n.Count)
		m.Counts = append(m.Counts, &adminv1.DeadLetterCount{PlatformId: string(n.Platform), Reason: n.Reason, Count: int64(n.Count), OldestTime: stamp(n.Oldest)})
	}
	return m, nil
}
