package gateway

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// sameText fails unless the codec prints a lookup, alone and as a frame, exactly
// as it would without the printer, and refuses what it would refuse.
func sameText(t *testing.T, m *hubv1.Lookup) {
	t.Helper()
	c := newCodec()
	for what, v := range map[string]any{"answer": m, "frame": map[string]any{"result": m}} {
		want, wantErr := c.reflect(v)
		got, err := c.Marshal(v)
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s\ngot  %s %v\nwant %s %v", what, got, err, want, wantErr)
		}
		if _, printed := fast(v); printed != (wantErr == nil) {
			t.Errorf("%s: the printer did it: %t, protojson: %v", what, printed, wantErr)
		}
	}
}

// ordinary is a lookup of the number of platforms, as the hub answers it.
func ordinary(rows int) *hubv1.Lookup {
	m := &hubv1.Lookup{
		LookupId: "01ARZ3NDEKTSV4RRFFQ69G5FAV", State: hubv1.LookupState_LOOKUP_STATE_RUNNING, Revision: 33, Asked: int32(rows), Answered: int32(rows) - 1, Silent: 1,
		NextPollAfter: durationpb.New(500 * time.Millisecond), FinalBy: timestamppb.New(time.Unix(1_790_000_000, 120_000_000)),
	}
	for i := range rows {
		m.Answers = append(m.Answers, &hubv1.Answer{
			PlatformId: fmt.Sprintf("platform-%02d", i), DisplayName: "购物平台", Category: "网上购物", State: hubv1.AnswerState_ANSWER_STATE_BOUND,
			AccountCount: proto.Int32(2), BoundBeforeHolder: proto.Int32(1), BoundSinceHolder: proto.Int32(1),
			Products: []string{"商城"}, Functions: []string{"LOOKUP", "UNBIND"}, SelfServiceUrl: proto.String("https://shop.example/unbind?a=1&b=2"),
			AnswerTime: timestamppb.New(time.Unix(1_790_000_000, 7_000_000)),
		})
	}
	return m
}

func TestLookupText(t *testing.T) {
	sameText(t, nil)
	sameText(t, &hubv1.Lookup{})
	sameText(t, ordinary(3))
	sameText(t, &hubv1.Lookup{Answers: []*hubv1.Answer{nil, {}, {SelfServiceUrl: proto.String(""), AccountCount: proto.Int32(0), Products: []string{"", ""}}}})
	for _, n := range []int32{0, 1, 2, 8, 9, -1, math.MaxInt32, math.MinInt32} {
		sameText(t, &hubv1.Lookup{State: hubv1.LookupState(n), Revision: n, Answers: []*hubv1.Answer{{State: hubv1.AnswerState(n), BoundSinceHolder: &n}}})
	}
	for _, sec := range []int64{0, 1, -1, firstSecond - 1, firstSecond, lastSecond, lastSecond + 1, mostSeconds, mostSeconds + 1, -mostSeconds, -mostSeconds - 1, math.MaxInt64, math.MinInt64} {
		for _, nano := range []int32{0, 1, -1, 1000, 120_000_000, 100, 999_999_999, 1_000_000_000, -999_999_999, -1_000_000_000, math.MaxInt32, math.MinInt32} {
			sameText(t, &hubv1.Lookup{FinalBy: &timestamppb.Timestamp{Seconds: sec, Nanos: nano}})
			sameText(t, &hubv1.Lookup{NextPollAfter: &durationpb.Duration{Seconds: sec, Nanos: nano}})
		}
	}
	odd := ordinary(1)
	odd.ProtoReflect().SetUnknown(protoreflect.RawFields("\xf8\x07\x01"))
	sameText(t, odd)
}

func TestLookupTextOfStrings(t *testing.T) {
	all := &strings.Builder{}
	for r := range rune(0x3000) {
		all.WriteRune(r)
	}
	for _, s := range []string{
		all.String(), "\ufffd", "\ufeff", "\u2028\u2029\u2027\u202a", "a<b>c&d'e\"f\\g/h", "\x00\x1f\x7f\u0080", "\U0001f600\U0010ffff",
		"\xff", "ok\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "a\xe2\x80",
	} {
		for _, s := range []string{s, s + "x", "x" + s, s + s} {
			sameText(t, &hubv1.Lookup{LookupId: s})
			sameText(t, &hubv1.Lookup{Answers: []*hubv1.Answer{{PlatformId: s, DisplayName: s, Category: s, Products: []string{s, s}, Functions: []string{s}, SelfServiceUrl: &s}}})
		}
	}
}

// A field that is added to the contract has to be added to the printer: every
// field, set alone, changes the text as it changes protojson's.
func TestLookupTextHasEveryField(t *testing.T) {
	for _, in := range []protoreflect.Message{(&hubv1.Lookup{}).ProtoReflect(), (&hubv1.Answer{}).ProtoReflect()} {
		for i := range in.Descriptor().Fields().Len() {
			fd := in.Descriptor().Fields().Get(i)
			m := in.New()
			fill(m, fd, rand.New(rand.NewPCG(1, 2)), 1)
			if !m.Has(fd) {
				t.Fatalf("%s is not set", fd.FullName())
			}
			switch m := m.Interface().(type) {
			case *hubv1.Lookup:
				sameText(t, m)
			case *hubv1.Answer:
				sameText(t, &hubv1.Lookup{Answers: []*hubv1.Answer{m}})
			}
		}
	}
}

// fill gives a field of any kind a value.
func fill(m protoreflect.Message, fd protoreflect.FieldDescriptor, r *rand.Rand, depth int) {
	value := func() protoreflect.Value {
		switch fd.Kind() {
		case protoreflect.StringKind:
			return protoreflect.ValueOfString(words[r.IntN(len(words))])
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(1 + r.IntN(10)))
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(1 + int32(r.Uint32()>>1))
		case protoreflect.Int64Kind:
			return protoreflect.ValueOfInt64(1 + r.Int64N(1<<uint(1+r.IntN(62))))
		case protoreflect.BoolKind:
			return protoreflect.ValueOfBool(true)
		}
		return fd.Default()
	}
	switch {
	case fd.IsList():
		list := m.Mutable(fd).List()
		for range 1 + r.IntN(3) {
			if fd.Message() != nil {
				fillAll(list.AppendMutable().Message(), r, depth)
			} else {
				list.Append(value())
			}
		}
	case fd.Message() != nil && !fd.IsMap():
		fillAll(m.Mutable(fd).Message(), r, depth)
	case !fd.IsMap():
		m.Set(fd, value())
	}
}

var words = []string{"购物平台", "a", "x&y<z>", "\u2028", "\"\\\n\t\x01", "\xff", "https://a.example/?b=c"}

func fillAll(m protoreflect.Message, r *rand.Rand, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		if fd := m.Descriptor().Fields().Get(i); depth > 0 && r.IntN(3) > 0 {
			fill(m, fd, r, depth-1)
		}
	}
}

// FuzzLookup compares the printer with protojson: data is a message in wire form,
// and seed makes further ones of any shape.
func FuzzLookup(f *testing.F) {
	for i, m := range []*hubv1.Lookup{{}, ordinary(0), ordinary(2), {FinalBy: &timestamppb.Timestamp{Nanos: -1}}, {LookupId: "<\u2028>\"\\\x00"}} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint64(i), "text")
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, s string) {
		m := new(hubv1.Lookup)
		if proto.Unmarshal(data, m) == nil {
			sameText(t, m)
			m.Answers = append(m.Answers, &hubv1.Answer{DisplayName: s, Products: []string{s}}) // also what is no UTF-8
			sameText(t, m)
		}
		made := new(hubv1.Lookup)
		fillAll(made.ProtoReflect(), rand.New(rand.NewPCG(seed, 1)), 3)
		sameText(t, made)
	})
}

// BenchmarkLookupJSON prints 32 rows, by protojson and by hand.
func BenchmarkLookupJSON(b *testing.B) {
	c, m := newCodec(), ordinary(32)
	var stock float64
	printed := func(b *testing.B, text func(any) ([]byte, error)) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := text(m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("stock", func(b *testing.B) {
		printed(b, c.JSONPb.Marshal)
		stock = perOp(b)
	})
	b.Run("ours", func(b *testing.B) {
		printed(b, c.Marshal)
		b.ReportMetric(stock/perOp(b), "x-stock")
	})
}
