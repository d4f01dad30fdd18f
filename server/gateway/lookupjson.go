package gateway

import (
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// jsonText appends a lookup as the codec prints it: protojson without spaces. It
// is written by hand since a lookup is the one answer that is large and asked for
// often, and reflection is most of what protojson costs. Tests hold it against
// the codec.
//
// Once odd is set the text is worth nothing: there was something that protojson
// refuses, and the codec gives its error.
type jsonText struct {
	b    []byte
	html bool // the text goes through encoding/json, which escapes what HTML reads
	odd  bool
}

// printLookup prints a lookup, and as {"result":…} a frame of the watch. It
// reports false where the codec has to do it.
func printLookup(m *hubv1.Lookup, frame bool) ([]byte, bool) {
	t := &jsonText{b: make([]byte, 0, 512+384*len(m.GetAnswers())), html: frame}
	if frame {
		t.raw(`{"result":`)
	}
	t.lookup(m)
	if frame {
		t.raw(`}`)
	}
	return t.b, !t.odd
}

func (t *jsonText) lookup(m *hubv1.Lookup) {
	t.raw(`{"lookupId":`)
	t.text(m.GetLookupId())
	t.raw(`,"state":`)
	t.enum(int32(m.GetState()), hubv1.LookupState_name)
	t.raw(`,"revision":`)
	t.number(m.GetRevision())
	t.raw(`,"asked":`)
	t.number(m.GetAsked())
	t.raw(`,"answered":`)
	t.number(m.GetAnswered())
	t.raw(`,"silent":`)
	t.number(m.GetSilent())
	t.raw(`,"answers":[`)
	for i, a := range m.GetAnswers() {
		if i > 0 {
			t.raw(`,`)
		}
		t.answer(a)
	}
	t.raw(`]`)
	if d := m.GetNextPollAfter(); d != nil {
		t.raw(`,"nextPollAfter":`)
		t.duration(d)
	}
	if at := m.GetFinalBy(); at != nil {
		t.raw(`,"finalBy":`)
		t.timestamp(at)
	}
	t.raw(`}`)
}

func (t *jsonText) answer(a *hubv1.Answer) {
	t.raw(`{"platformId":`)
	t.text(a.GetPlatformId())
	t.raw(`,"displayName":`)
	t.text(a.GetDisplayName())
	t.raw(`,"category":`)
	t.text(a.GetCategory())
	t.raw(`,"state":`)
	t.enum(int32(a.GetState()), hubv1.AnswerState_name)
	if a != nil {
		t.count(`,"accountCount":`, a.AccountCount)
		t.count(`,"boundBeforeHolder":`, a.BoundBeforeHolder)
		t.count(`,"boundSinceHolder":`, a.BoundSinceHolder)
	}
	t.raw(`,"products":`)
	t.texts(a.GetProducts())
	t.raw(`,"functions":`)
	t.texts(a.GetFunctions())
	if a != nil && a.SelfServiceUrl != nil {
		t.raw(`,"selfServiceUrl":`)
		t.text(*a.SelfServiceUrl)
	}
	if at := a.GetAnswerTime(); at != nil {
		t.raw(`,"answerTime":`)
		t.timestamp(at)
	}
	t.raw(`}`)
}

func (t *jsonText) raw(s string) { t.b = append(t.b, s...) }

func (t *jsonText) number(n int32) { t.b = strconv.AppendInt(t.b, int64(n), 10) }

// count prints a count that may be absent.
func (t *jsonText) count(key string, n *int32) {
	if n != nil {
		t.raw(key)
		t.number(*n)
	}
}

// enum prints a value's name, or the number of a value without one.
func (t *jsonText) enum(n int32, names map[int32]string) {
	name, ok := names[n]
	if !ok {
		t.number(n)
		return
	}
	t.b = append(t.b, '"')
	t.raw(name)
	t.b = append(t.b, '"')
}

func (t *jsonText) texts(list []string) {
	t.b = append(t.b, '[')
	for i, s := range list {
		if i > 0 {
			t.b = append(t.b, ',')
		}
		t.text(s)
	}
	t.b = append(t.b, ']')
}

// text prints a string in quotes.
func (t *jsonText) text(s string) {
	t.b = append(t.b, '"')
	done := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' || t.html && (c == '<' || c == '>' || c == '&') {
				t.raw(s[done:i])
				t.escape(rune(c))
				done = i + 1
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			t.odd = true
		case t.html && (r == '\u2028' || r == '\u2029'):
			t.raw(s[done:i])
			t.escape(r)
			done = i + n
		}
		i += n
	}
	t.raw(s[done:])
	t.b = append(t.b, '"')
}

// escape prints a character that may not stand for itself; none is above U+FFFF.
func (t *jsonText) escape(r rune) {
	const (
		short = "\"\"\\\\\bb\ff\nn\rr\tt" // each beside what stands for it behind a backslash
		hex   = "0123456789abcdef"
	)
	t.b = append(t.b, '\\')
	for i := 0; i < len(short); i += 2 {
		if rune(short[i]) == r {
			t.b = append(t.b, short[i+1])
			return
		}
	}
	t.b = append(t.b, 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// The bounds that protojson has for well-known types.
const (
	firstSecond = -62135596800 // 0001-01-01T00:00:00Z
	lastSecond  = 253402300799 // 9999-12-31T23:59:59Z
	mostSeconds = 315576000000 // 10,000 years
	mostNanos   = 999999999
)

func (t *jsonText) timestamp(m *timestamppb.Timestamp) {
	sec, nano := m.GetSeconds(), m.GetNanos()
	if sec < firstSecond || sec > lastSecond || nano < 0 || nano > mostNanos {
		t.odd = true
		return
	}
	t.b = append(t.b, '"')
	t.b = time.Unix(sec, 0).UTC().AppendFormat(t.b, "2006-01-02T15:04:05")
	t.fraction(nano)
	t.raw(`Z"`)
}

func (t *jsonText) duration(m *durationpb.Duration) {
	sec, nano := m.GetSeconds(), m.GetNanos()
	if sec < -mostSeconds || sec > mostSeconds || nano < -mostNanos || nano > mostNanos || sec > 0 && nano < 0 || sec < 0 && nano > 0 {
		t.odd = true
		return
	}
	t.b = append(t.b, '"')
	if sec < 0 || nano < 0 {
		t.b = append(t.b, '-')
		sec, nano = -sec, -nano
	}
	t.b = strconv.AppendInt(t.b, sec, 10)
	t.fraction(nano)
	t.raw(`s"`)
}

// fraction prints nanoseconds as none, 3, 6 or 9 digits behind a point.
func (t *jsonText) fraction(nano int32) {
	if nano == 0 {
		return
	}
	var digits [9]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + nano%10)
		nano /= 10
	}
	n := len(digits)
	for string(digits[n-3:n]) == "000" {
		n -= 3
	}
	t.b = append(t.b, '.')
	t.b = append(t.b, digits[:n]...)
}
