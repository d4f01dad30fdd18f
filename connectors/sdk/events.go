package sdk

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Limits of events.
const (
	maxEvents        = 1000 // per call
	rememberedEvents = 8192 // repeats of these are answered without a call
)

// NotifyNumberEvents implements the contract.
func (s *service) NotifyNumberEvents(ctx context.Context, req *connectorv1.NotifyNumberEventsRequest) (*connectorv1.NotifyNumberEventsResponse, error) {
	h, ok := s.handler.(NumberEventHandler)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "this platform takes no number events")
	}
	if n := len(req.GetEvents()); n < 1 || n > maxEvents {
		return nil, invalid("events: want 1 to %d", maxEvents)
	}
	out := &connectorv1.NotifyNumberEventsResponse{}
	for _, e := range req.GetEvents() {
		out.Results = append(out.Results, &connectorv1.NumberEventResult{
			EventId: e.GetEventId(),
			Outcome: s.takeEvent(ctx, h, e),
		})
	}
	return out, nil
}

func (s *service) takeEvent(ctx context.Context, h NumberEventHandler, e *connectorv1.NumberEvent) EventOutcome {
	if !validEvent(e) {
		return EventRejected
	}
	if out, ok := s.events.get(e.GetEventId()); ok {
		return out
	}
	if ctx.Err() != nil {
		return EventRetry
	}
	out, err := guard(s.log, "NumberEvent", func() (EventOutcome, error) {
		return h.NumberEvent(ctx, NumberEvent{
			ID: e.GetEventId(), PhoneNumber: e.GetPhoneNumber(), Type: e.GetType(), Time: e.GetEventTime().AsTime(),
		})
	})
	if err != nil {
		s.log.Warn("number event failed", "error", err)
		return EventRetry
	}
	switch out {
	case EventApplied, EventIgnored, EventRejected:
		s.events.put(e.GetEventId(), out)
		return out
	default:
		return EventRetry
	}
}

func validEvent(e *connectorv1.NumberEvent) bool {
	_, known := connectorv1.NumberEventType_name[int32(e.GetType())]
	return known && e.GetType() != connectorv1.NumberEventType_NUMBER_EVENT_TYPE_UNSPECIFIED &&
		validRef(e.GetEventId()) && validPhone(e.GetPhoneNumber()) && e.GetEventTime().CheckValid() == nil
}

// eventMemory keeps the outcomes of the latest events; a restart empties it.
type eventMemory struct {
	mu   sync.Mutex
	out  map[string]EventOutcome
	ring []string // ids, the oldest at next once it is full
	next int
}

func newEventMemory() *eventMemory { return &eventMemory{out: map[string]EventOutcome{}} }

func (m *eventMemory) get(id string) (EventOutcome, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, ok := m.out[id]
	return out, ok
}

func (m *eventMemory) put(id string, out EventOutcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.out[id]; !ok {
		if len(m.ring) < rememberedEvents {
			m.ring = append(m.ring, id)
		} else {
			delete(m.out, m.ring[m.next])
			m.ring[m.next] = id
			m.next = (m.next + 1) % rememberedEvents
		}
	}
	m.out[id] = out
}
