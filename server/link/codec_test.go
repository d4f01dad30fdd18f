package link

import (
	"errors"
	"testing"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// TestPartsAreCountedBeforeDecoding: a message of many empty parts is refused
// while it is still bytes.
func TestPartsAreCountedBeforeDecoding(t *testing.T) {
	encode := func(answers, accounts int) []byte {
		m := new(connectorv1.LookupBindingsResponse)
		for range answers {
			a := new(connectorv1.SubjectAnswer)
			for range accounts {
				a.Accounts = append(a.Accounts, new(connectorv1.Account))
			}
			m.Answers = append(m.Answers, a)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	codec := countingCodec{CodecV2: encoding.GetCodecV2(grpcproto.Name), most: 2}
	for name, c := range map[string]struct {
		message []byte
		refused bool
	}{
		"nothing":                  {nil, false},
		"as many as asked for":     {encode(2, maxAccounts), false},
		"one more, for the check":  {encode(2, maxAccounts+1), false},
		"an answer too many":       {encode(3, 0), true},
		"a hundred thousand":       {encode(100_000, 0), true},
		"many accounts in the 2nd": {append(encode(1, 1), encode(1, 4*maxAccounts+1)...), true},
	} {
		got := new(connectorv1.LookupBindingsResponse)
		err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(c.message)}, got)
		if errors.Is(err, errTooManyParts) != c.refused || !c.refused && err != nil || c.refused && len(got.GetAnswers()) > 0 {
			t.Errorf("%s: %v, %d answers decoded", name, err, len(got.GetAnswers()))
		}
	}
	cut := encode(1, 1)
	if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(cut[:len(cut)-1])}, new(connectorv1.LookupBindingsResponse)); err == nil || errors.Is(err, errTooManyParts) {
		t.Errorf("a message cut short: %v", err)
	}
}
