package sdk

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Limits of a lookup.
const (
	maxAccounts     = 50
	maxAnswerWithin = time.Minute // a longer answer_within is cut to this
)

// LookupBindings implements the contract: the items of a batch are looked up
// side by side, and the answer leaves when all are ready or shortly before
// answer_within has passed, whichever comes first.
func (s *service) LookupBindings(ctx context.Context, req *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	if err := s.checkLookup(req); err != nil {
		return nil, err
	}
	within := min(req.GetAnswerWithin().AsDuration(), maxAnswerWithin)
	within -= margin(within) // the answer has to travel
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()

	items := s.start(ctx, req.GetSubjects())
	answers, failure := s.collect(ctx, req.GetSubjects(), items)
	if failure != nil {
		return nil, failure
	}
	return &connectorv1.LookupBindingsResponse{Answers: answers}, nil
}

// item is the result of one handler call.
type item struct {
	index  int
	answer *connectorv1.SubjectAnswer
	err    error
}

// start runs the handler for every subject. The channel holds them all, so that
// a handler that comes too late blocks nobody.
func (s *service) start(ctx context.Context, subjects []*connectorv1.Subject) <-chan item {
	items := make(chan item, len(subjects))
	for i, subject := range subjects {
		s.tasks.Go(func() {
			select {
			case s.places <- struct{}{}:
			case <-ctx.Done():
				items <- item{index: i, err: ctx.Err()}
				return
			}
			defer func() { <-s.places }()
			answer, err := s.lookupOne(ctx, subject)
			items <- item{index: i, answer: answer, err: err}
		})
	}
	return items
}

// collect puts the answers in the order of the subjects. A non-nil error is for
// the whole call.
func (s *service) collect(ctx context.Context, subjects []*connectorv1.Subject, items <-chan item) ([]*connectorv1.SubjectAnswer, error) {
	answers := make([]*connectorv1.SubjectAnswer, len(subjects))
	var answered int
	var failure error
wait:
	for range subjects {
		select {
		case it := <-items:
			if it.err == nil {
				answers[it.index] = it.answer
				answered++
			} else if failure == nil && forWholeCall(it.err) {
				failure = hidden(it.err)
			}
		case <-ctx.Done():
			break wait
		}
	}
	if answered == 0 && failure != nil {
		return nil, failure
	}
	for i, subject := range subjects {
		if answers[i] == nil {
			answers[i] = &connectorv1.SubjectAnswer{
				SubjectRef: subject.GetSubjectRef(),
				State:      connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME,
			}
		}
	}
	return answers, nil
}

func forWholeCall(err error) bool {
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.ResourceExhausted
}

func (s *service) lookupOne(ctx context.Context, p *connectorv1.Subject) (*connectorv1.SubjectAnswer, error) {
	if t := traceParent(p.GetTraceparent()); t != "" {
		ctx = context.WithValue(ctx, traceKey{}, t)
	}
	subject := subjectOf(p)
	a, err := s.ask(ctx, subject)
	if err != nil {
		return nil, err
	}
	return a.proto(p.GetSubjectRef(), subject.HolderSince), nil
}

// ask calls the handler and returns an answer within the contract, or an error
// and the zero Answer.
func (s *service) ask(ctx context.Context, subject Subject) (Answer, error) {
	a, err := guard(s.log, "Lookup", func() (Answer, error) { return s.handler.Lookup(ctx, subject) })
	if err == nil {
		err = a.check()
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("lookup failed", "error", err)
		}
		return Answer{}, err
	}
	return a, nil
}

func subjectOf(p *connectorv1.Subject) Subject {
	s := Subject{PhoneNumber: p.GetPhoneNumber(), Synthetic: p.GetSynthetic()}
	if t := p.GetHolderSince(); t != nil {
		s.HolderSince = t.AsTime()
	}
	return s
}

// check finds what the hub would call malformed.
func (a Answer) check() error {
	if a.state == connectorv1.BindingState_BINDING_STATE_UNSPECIFIED {
		return errors.New("the zero Answer is no answer; use Found or NoData")
	}
	if len(a.accounts) > maxAccounts {
		return errors.New("an answer holds at most 50 accounts")
	}
	for _, acc := range a.accounts {
		if !validRef(acc.Ref) {
			return errors.New("an account ref must be 1 to 64 bytes of printable ASCII")
		}
		if utf8.RuneCountInString(acc.Product) > 64 || !utf8.ValidString(acc.Product) {
			return errors.New("an account's product must have at most 64 characters")
		}
	}
	return nil
}

func (a Answer) proto(ref []byte, holderSince time.Time) *connectorv1.SubjectAnswer {
	out := &connectorv1.SubjectAnswer{SubjectRef: ref, State: a.state, AnswerTime: timestamppb.New(a.readAt)}
	for _, acc := range a.accounts {
		out.Accounts = append(out.Accounts, &connectorv1.Account{
			AccountRef: acc.Ref,
			Product:    acc.Product,
			Period:     Period(acc.BoundAt, holderSince),
		})
	}
	return out
}

func (s *service) checkLookup(req *connectorv1.LookupBindingsRequest) error {
	limit := int(s.describe.GetMaxBatch())
	if n := len(req.GetSubjects()); n < 1 || n > limit {
		return invalid("subjects: want 1 to %d", limit)
	}
	if d := req.GetAnswerWithin(); d.CheckValid() != nil || d.AsDuration() <= 0 {
		return invalid("answer_within: want a positive duration")
	}
	seen := make(map[string]bool, len(req.GetSubjects()))
	for i, subject := range req.GetSubjects() {
		if field, want := subjectProblem(subject); field != "" {
			return invalid("subjects[%d].%s: want %s", i, field, want)
		}
		ref := string(subject.GetSubjectRef())
		if seen[ref] {
			return invalid("subjects[%d].subject_ref: came twice", i)
		}
		seen[ref] = true
	}
	return nil
}

// subjectProblem names the field of a subject that is malformed and what it
// should be; the field is empty where all is well.
func subjectProblem(p *connectorv1.Subject) (field, want string) {
	switch {
	case len(p.GetSubjectRef()) != 16:
		return "subject_ref", "16 bytes"
	case !validPhone(p.GetPhoneNumber()):
		return "phone_number", "a mainland mobile number in E.164"
	case p.GetHolderSince() != nil && p.GetHolderSince().CheckValid() != nil:
		return "holder_since", "a valid time"
	}
	return "", ""
}
