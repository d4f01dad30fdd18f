package link

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

const refSize = 16 // bytes of a subject_ref

// request is a batch as one call.
func request(ctx context.Context, taken []*question) *connectorv1.LookupBindingsRequest {
	req := &connectorv1.LookupBindingsRequest{Subjects: make([]*connectorv1.Subject, len(taken))}
	for i, one := range taken {
		req.Subjects[i] = subject(one)
	}
	if deadline, ok := ctx.Deadline(); ok {
		req.AnswerWithin = durationpb.New(answerWithin(time.Until(deadline)))
	}
	return req
}

func subject(one *question) *connectorv1.Subject {
	c := one.item.call
	s := &connectorv1.Subject{SubjectRef: one.ref[:], PhoneNumber: c.Number.E164(), Traceparent: one.item.trace}
	if !c.HolderSince.IsZero() {
		s.HolderSince = timestamppb.New(c.HolderSince)
	}
	return s
}

// answerWithin leaves a tenth of what remains, at most 100 ms, for the way back.
func answerWithin(remaining time.Duration) time.Duration {
	return max(remaining-min(remaining/10, 100*time.Millisecond), 0)
}
