package sdk

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// Limits of one frame of answers. The contract allows 256 KiB.
const (
	maxFrameBytes   = 64 << 10
	maxFrameAnswers = 512
)

// outbox is the answers of a stream that were not sent yet, encoded, in frames.
type outbox struct {
	frames []frame
	count  int // answers in all frames
	spare  [][]byte
}

// frame is an encoded StreamBindingsResponse.
type frame struct {
	bytes   []byte
	answers int
}

// add puts one encoded answer in. Messages that stand behind one another are one
// message, so a frame grows by appending.
func (o *outbox) add(answer []byte) {
	n := len(o.frames) - 1
	if n < 0 || o.frames[n].answers == maxFrameAnswers || len(o.frames[n].bytes)+len(answer) > maxFrameBytes {
		o.frames = append(o.frames, frame{bytes: o.buffer()})
		n++
	}
	f := &o.frames[n]
	f.bytes = append(f.bytes, answer...)
	f.answers++
	o.count++
}

// take empties the outbox into frames, whose buffers come back through reuse.
func (o *outbox) take(into []frame) []frame {
	into = append(into[:0], o.frames...)
	clear(o.frames)
	o.frames, o.count = o.frames[:0], 0
	return into
}

// reuse takes a few buffers back, so that a quiet stream holds little.
func (o *outbox) reuse(sent []frame) {
	for _, f := range sent {
		if len(o.spare) < 2 {
			o.spare = append(o.spare, f.bytes[:0])
		}
	}
}

func (o *outbox) buffer() []byte {
	n := len(o.spare) - 1
	if n < 0 {
		return nil
	}
	b := o.spare[n]
	o.spare = o.spare[:n]
	return b
}

// encoder encodes answers one after another with one set of messages.
type encoder struct {
	frame    connectorv1.StreamBindingsResponse
	item     connectorv1.StreamAnswer
	answer   connectorv1.SubjectAnswer
	readAt   timestamppb.Timestamp
	accounts []*connectorv1.Account
	bytes    []byte
}

func newEncoder() *encoder {
	e := &encoder{}
	e.frame.Answers = []*connectorv1.StreamAnswer{&e.item}
	e.item.Answer = &e.answer
	return e
}

// encode returns the answer to a question as a frame of its own, valid until the
// next one. The zero Answer is NOT_IN_TIME; any other was checked.
func (e *encoder) encode(q *question, a Answer) []byte {
	e.item.ItemId = q.id
	e.answer.SubjectRef, e.answer.State = q.ref, a.state
	e.answer.AnswerTime, e.answer.Accounts = nil, nil
	if a.state == connectorv1.BindingState_BINDING_STATE_UNSPECIFIED {
		e.answer.State = connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME
	} else {
		e.readAt.Seconds, e.readAt.Nanos = a.readAt.Unix(), int32(a.readAt.Nanosecond())
		e.answer.AnswerTime = &e.readAt
	}
	for i, acc := range a.accounts {
		if i == len(e.accounts) {
			e.accounts = append(e.accounts, &connectorv1.Account{})
		}
		m := e.accounts[i]
		m.AccountRef, m.Product, m.Period = acc.Ref, acc.Product, Period(acc.BoundAt, q.subject.HolderSince)
		e.answer.Accounts = e.accounts[:i+1]
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(e.bytes[:0], &e.frame)
	if err != nil { // only for a text that is not UTF-8, which the check refuses
		return e.encode(q, Answer{})
	}
	e.bytes = b
	return b
}
