package link

import (
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// answerLimit is more bytes than an answer with 50 accounts can need.
const answerLimit = 20 << 10

// bounded makes a call refuse an answer to n subjects that is too large or has
// too many parts before it is decoded: a few hundred kilobytes of empty parts
// would be tens of megabytes of objects.
func bounded(n int) []grpc.CallOption {
	return []grpc.CallOption{
		grpc.MaxCallRecvMsgSize(min(receiveLimit, 1<<10+n*answerLimit)),
		grpc.ForceCodecV2(countingCodec{CodecV2: encoding.GetCodecV2(proto.Name), most: n}),
	}
}

// boundedStream is bounded for the frames of a stream, which together may hold as
// many answers as the stream is owed.
func boundedStream(o *owed) []grpc.CallOption {
	return []grpc.CallOption{
		grpc.MaxCallRecvMsgSize(receiveLimit),
		grpc.ForceCodecV2(countingCodec{CodecV2: encoding.GetCodecV2(proto.Name), owed: o}),
	}
}

// owed is how many answers a stream may still bring: one for each question, and a
// few more for a connector that now and then answers twice or what it was not
// asked. Without it a platform could pour in answers to nothing for as long as the
// stream stands, and reading them costs far more than sending them.
type owed struct{ atomic.Int64 }

// mostStray is how many answers beyond the questions, and frames without any, end
// a stream.
const mostStray = 64

// take counts a frame's answers; a frame without any counts as one. It reports
// false for more than the stream is owed.
func (o *owed) take(answers int) bool { return o.Add(-int64(max(answers, 1))) >= 0 }

// countingCodec counts the parts of a message before the codec below decodes it:
// a LookupBindingsResponse of at most so many answers, or, where owed is set, a
// frame of a stream.
type countingCodec struct {
	encoding.CodecV2
	most int
	owed *owed
}

var errTooManyParts = errors.New("more answers or accounts than were asked for")

// Unmarshal decodes data into v. Some accounts too many are left for the check of
// the answer, which spoils no other.
func (c countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if !c.fits(data.Materialize()) {
		return errTooManyParts
	}
	return c.CodecV2.Unmarshal(data, v)
}

func (c countingCodec) fits(message []byte) bool {
	few := func(answer []byte) bool { _, ok := parts(answer, 4, 4*maxAccounts, nil); return ok }
	if c.owed == nil {
		_, ok := parts(message, 1, c.most, few)
		return ok
	}
	n, ok := parts(message, 1, mostOpen, func(answer []byte) bool { _, ok := parts(answer, 2, 1, few); return ok })
	return ok && c.owed.take(n)
}

// parts counts the values of a field in a message and reports whether there are
// at most so many, each of which is good. Whether it is a message at all is for
// the decoder to say.
func parts(message []byte, field protowire.Number, most int, good func([]byte) bool) (n int, ok bool) {
	for len(message) > 0 {
		num, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return n, true
		}
		size := protowire.ConsumeFieldValue(num, kind, message[tag:])
		if size < 0 {
			return n, true
		}
		if num == field && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message[tag:])
			if n++; n > most || good != nil && !good(value) {
				return n, false
			}
		}
		message = message[tag+size:]
	}
	return n, true
}
