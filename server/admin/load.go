package admin

import (
	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// loadMessage is nil for a platform that hasn't joined.
func (s *service) loadMessage(id platform.ID) *adminv1.PlatformLoad {
	l, ok := s.o.Catalogue.Load(id)
	if !ok {
		return nil
	}
	m := &adminv1.PlatformLoad{
		Breaker: l.Breaker, BreakerUntil: stamp(l.Until), Transport: "BATCHES",
		Waiting: int32(l.Waiting), Open: int32(l.Open), Limit: int32(l.Limit),
		Asked: l.Counts.Asked, Sent: l.Counts.Sent, Hedged: l.Counts.Hedged,
	}
	if l.Stream {
		m.Transport = "STREAM"
	}
	if l.P95 > 0 {
		millis := int32(l.P95.Milliseconds())
		m.P95AnswerMillis = &millis
	}
	return m
}

// joinedFlow is nil for a platform that hasn't joined.
func (s *service) joinedFlow(i platform.Info) *adminv1.OrderFlow {
	if i.Address == "" {
		return nil
	}
	return s.flowMessage(i.ID)
}

// flowMessage says how orders go to the platform.
func (s *service) flowMessage(id platform.ID) *adminv1.OrderFlow {
	if s.o.Flow == nil {
		return nil
	}
	f := s.o.Flow(id)
	return &adminv1.OrderFlow{
		Breaker: f.Breaker, BreakerUntil: stamp(f.Until), Failed: int32(f.Failed),
		UnderWay: int32(f.UnderWay), Places: int32(f.Places), PerSecond: f.PerSecond,
	}
}
