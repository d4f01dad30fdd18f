package link

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

const refSize = 16 // bytes of a subject_ref

// lookup asks one batch and checks every answer. It returns one answer for each
// item, whatever happens.
func (r *remote) lookup(ctx context.Context, items []*item) []platform.Answer {
	req, refs := question(ctx, items)
	resp, err := r.client.LookupBindings(ctx, req, bounded(len(items))...)
	if err != nil {
		return all(items, platform.Answer{State: platform.Silent, Malformed: breach(err)})
	}
	return checkAnswers(items, refs, resp.GetAnswers(), time.Now())
}

// question builds the request, with a fresh reference for each item. Two
// questions about one number can't be told to be from one person by them.
func question(ctx context.Context, items []*item) (*connectorv1.LookupBindingsRequest, []byte) {
	refs := make([]byte, refSize*len(items))
	_, _ = rand.Read(refs) // never fails
	req := &connectorv1.LookupBindingsRequest{Subjects: make([]*connectorv1.Subject, len(items))}
	for i, it := range items {
		s := &connectorv1.Subject{SubjectRef: refs[i*refSize : (i+1)*refSize], PhoneNumber: it.call.Number.E164(), Traceparent: it.trace}
		if since := it.call.HolderSince; !since.IsZero() {
			s.HolderSince = timestamppb.New(since)
		}
		req.Subjects[i] = s
	}
	if deadline, ok := ctx.Deadline(); ok {
		req.AnswerWithin = durationpb.New(answerWithin(time.Until(deadline)))
	}
	return req, refs
}

// answerWithin leaves a tenth of what remains, at most 100 ms, for the way back.
func answerWithin(remaining time.Duration) time.Duration {
	return max(remaining-min(remaining/10, 100*time.Millisecond), 0)
}

func all(items []*item, a platform.Answer) []platform.Answer {
	out := make([]platform.Answer, len(items))
	for i := range out {
		out[i] = a
	}
	return out
}
