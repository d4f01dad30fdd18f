package lookup

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// Notifier tells a person that the last late answer is in.
type Notifier interface {
	// LateAnswersIn sends the message about a lookup of that time. It names no
	// platform and is not repeated, whatever the error.
	LateAnswersIn(ctx context.Context, to phone.Number, asked time.Time) error
}

const (
	// holderFresh is how old a lookup may be for its holder not to be checked
	// again before a late question: the session it comes from was checked.
	holderFresh = time.Hour
	// holderAgain is how long a lookup waits whose holder could not be checked.
	holderAgain = 10 * time.Minute
	// messageGrace is how long after the final time a message is still sent.
	messageGrace = time.Hour
	messageTime  = 4 * time.Second // less than a hub's stop takes at most
)

// tell sends the message that the last late answer is in. The claim is on disk
// before the message leaves, so that a crash in between costs the message and
// never doubles it. It says when to look again.
func (s *Service) tell(ctx context.Context, l Lookup, r Round) time.Time {
	r.Stop = s.o.Notifier == nil || r.Now.After(l.FinalBy.Add(messageGrace))
	if !r.Stop {
		held := s.holder(ctx, l)
		if ctx.Err() != nil {
			return time.Time{} // it stays due
		}
		switch held {
		case holds:
			s.send(ctx, l)
			return time.Time{}
		case changedHands:
			r.Stop = true
		default:
			r.MessageTime = r.Now.Add(holderAgain)
		}
	}
	next, _ := s.merge(ctx, r)
	return next
}

func (s *Service) send(ctx context.Context, l Lookup) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), messageTime)
	defer cancel()
	ok, err := s.o.Store.ClaimMessage(ctx, Message{
		LookupID: l.ID, NumberIndex: phone.IndexOf(s.o.MAC, l.Number), Now: s.o.Now(), PerDay: s.o.Limits.LateMessagesPerDay,
	})
	if err != nil {
		s.o.Logger.Error("message about late answers not claimed", "error", err)
		return
	}
	if !ok {
		return
	}
	if err := s.o.Notifier.LateAnswersIn(ctx, l.Number, l.CreateTime); err != nil {
		s.o.Logger.Warn("message about late answers not sent", "error", err)
	}
}

// held says whose a number is.
type held uint8

const (
	holderUnknown held = iota // the carrier can't be asked
	holds
	changedHands
)

// holder asks the carrier whether the number is still that of the person who
// asked. A carrier without data does not speak against it.
func (s *Service) holder(ctx context.Context, l Lookup) held {
	if s.o.Carrier == nil {
		return holds
	}
	change, _, err := s.o.Carrier.CheckHolder(ctx, l.Number, l.CreateTime)
	switch {
	case err != nil:
		s.o.Logger.Warn("holder not checked for late answers", "error", err)
		return holderUnknown
	case change == platform.ChangeHands:
		return changedHands
	}
	return holds
}
