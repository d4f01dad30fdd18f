package sdktest

import (
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Stream is the hub's end of a StreamBindings call. Ask, Withdraw and End are for
// one goroutine, the others for one more.
type Stream struct {
	grpc.BidiStreamingClient[connectorv1.StreamBindingsRequest, connectorv1.StreamBindingsResponse]

	tb testing.TB
}

// OpenStream opens a stream that ends with the test at the latest.
func OpenStream(tb testing.TB, c connectorv1.ConnectorServiceClient) *Stream {
	tb.Helper()
	wire, err := c.StreamBindings(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return &Stream{wire, tb}
}

// Ask sends one frame of questions.
func (s *Stream) Ask(items ...*connectorv1.StreamItem) {
	s.tb.Helper()
	s.frame(&connectorv1.StreamBindingsRequest{Items: items})
}

// Withdraw sends one frame that withdraws questions.
func (s *Stream) Withdraw(ids ...uint64) {
	s.tb.Helper()
	s.frame(&connectorv1.StreamBindingsRequest{WithdrawnItemIds: ids})
}

// End ends the hub's side: the stream is over when all is answered.
func (s *Stream) End() {
	s.tb.Helper()
	if err := s.CloseSend(); err != nil {
		s.tb.Error(err)
	}
}

// frame leaves an end of the stream for Answers to find.
func (s *Stream) frame(f *connectorv1.StreamBindingsRequest) {
	s.tb.Helper()
	if err := s.Send(f); err != nil && !errors.Is(err, io.EOF) {
		s.tb.Error(err)
	}
}

// Answers returns the answers of the next frame, of which there is at least one.
// At the end of the stream it returns none, and no error where that end is OK.
func (s *Stream) Answers() ([]*connectorv1.StreamAnswer, error) {
	s.tb.Helper()
	r, err := s.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, status.Convert(err).Err()
	case len(r.GetAnswers()) == 0:
		s.tb.Error("a frame without answers")
	}
	return r.GetAnswers(), nil
}

// Collect returns n answers by their ids and the sizes of the frames they came
// in, or less where the stream ends first. No id may come twice.
func (s *Stream) Collect(n int) (answers map[uint64]*connectorv1.SubjectAnswer, frames []int) {
	s.tb.Helper()
	answers = map[uint64]*connectorv1.SubjectAnswer{}
	for len(answers) < n {
		frame, err := s.Answers()
		if err != nil {
			s.tb.Error(err)
		}
		if frame == nil {
			break
		}
		frames = append(frames, len(frame))
		for _, a := range frame {
			if answers[a.GetItemId()] != nil {
				s.tb.Errorf("item %d was answered twice", a.GetItemId())
			}
			answers[a.GetItemId()] = a.GetAnswer()
		}
	}
	return answers, frames
}
