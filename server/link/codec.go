package link

import (
	"errors"

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
		grpc.ForceCodecV2(countingCodec{encoding.GetCodecV2(proto.Name), n}),
	}
}

// boundedStream is bounded for the frames of a stream, which may answer any of the
// open questions.
func boundedStream() []grpc.CallOption {
	return []grpc.CallOption{
		grpc.MaxCallRecvMsgSize(receiveLimit),
		grpc.ForceCodecV2(countingCodec{encoding.GetCodecV2(proto.Name), 0}),
	}
}

// countingCodec counts the parts of a message before the codec below decodes it:
// a LookupBindingsResponse of at most so many answers, or, where most is 0, a
// frame of a stream.
type countingCodec struct {
	encoding.CodecV2
	most int
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
	fewAccounts := func(answer []byte) bool { return fits(answer, 4, 4*maxAccounts, nil) }
	if c.most > 0 {
		return fits(message, 1, c.most, fewAccounts)
	}
	return fits(message, 1, mostOpen, func(answer []byte) bool { return fits(answer, 2, 1, fewAccounts) })
}

// fits reports whether a message holds at most so many values of a field, each
// of which is good. Whether it is a message at all is for the decoder to say.
func fits(message []byte, field protowire.Number, most int, good func([]byte) bool) bool {
	for len(message) > 0 {
		num, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return true
		}
		size := protowire.ConsumeFieldValue(num, kind, message[tag:])
		if size < 0 {
			return true
		}
		if num == field && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message[tag:])
			if most--; most < 0 || good != nil && !good(value) {
				return false
			}
		}
		message = message[tag+size:]
	}
	return true
}
