package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

func question(id uint64, number string, within time.Duration) *connectorv1.StreamItem {
	return &connectorv1.StreamItem{ItemId: id, Subject: subject(id, number), AnswerWithinMillis: uint32(within.Milliseconds())}
}

func questions(from, to uint64, number string, within time.Duration) (out []*connectorv1.StreamItem) {
	for id := from; id < to; id++ {
		out = append(out, question(id, number, within))
	}
	return out
}

// stuck waits for its context and notes how that ended.
func stuck(ended chan<- error) lookups {
	return func(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return sdk.Found(), nil
	}
}

func TestStreamAnswersInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
			if s.PhoneNumber == numberA {
				time.Sleep(100 * time.Millisecond)
			}
			return sdk.Found(sdk.Account{Ref: "r"}), nil
		}))
		st := sdktest.OpenStream(t, p)
		begin := time.Now()
		st.Ask(question(1, numberA, time.Second), question(2, numberB, time.Second))
		for _, want := range []struct {
			id uint64
			at time.Duration
		}{{2, 0}, {1, 100 * time.Millisecond}} {
			frame, err := st.Answers()
			if err != nil || len(frame) != 1 {
				t.Fatalf("frame = %v, %v", frame, err)
			}
			a := frame[0]
			if at := time.Since(begin); a.GetItemId() != want.id || at != want.at {
				t.Errorf("item %d at %v, want %d at %v", a.GetItemId(), at, want.id, want.at)
			}
			if a.GetAnswer().GetState() != bound || !slices.Equal(a.GetAnswer().GetSubjectRef(), subject(want.id, "").GetSubjectRef()) {
				t.Errorf("answer = %v", a)
			}
		}
	})
}

func TestStreamGathersAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The number says after how many milliseconds it is answered.
		p := sdktest.Start(t, lookups(func(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
			ms, err := strconv.Atoi(s.PhoneNumber[5:])
			time.Sleep(time.Duration(ms) * time.Millisecond)
			return sdk.Found(), err
		}))
		after := func(ms int) string { return fmt.Sprintf("+8613%09d", ms) }
		st := sdktest.OpenStream(t, p)
		begin := time.Now()
		items := questions(0, 1, after(10), time.Minute)                   // 1 of 64: waits its 5 ms
		items = append(items, questions(1, 7, after(20), time.Minute)...)  // 6 to 57: wait
		items = append(items, questions(7, 13, after(40), time.Minute)...) // 6 to 51: go
		items = append(items, questions(13, 64, after(90), time.Minute)...)
		st.Ask(items...)
		for _, want := range []struct {
			answers int
			at      time.Duration
		}{{1, 15}, {6, 25}, {6, 40}} {
			frame, err := st.Answers()
			if err != nil {
				t.Fatal(err)
			}
			if at := time.Since(begin); len(frame) != want.answers || at != want.at*time.Millisecond {
				t.Errorf("%d answers at %v, want %d at %dms", len(frame), at, want.answers, want.at)
			}
		}
		if rest, _ := st.Collect(51); len(rest) != 51 || time.Since(begin) > 95*time.Millisecond {
			t.Errorf("%d answers at %v, want 51 at 90ms", len(rest), time.Since(begin))
		}
		begin = time.Now()
		st.Ask(questions(100, 101, after(0), time.Minute)...)
		if _, err := st.Answers(); err != nil || time.Since(begin) != 0 {
			t.Errorf("the only answer came after %v, %v", time.Since(begin), err)
		}
	})
}

func TestStreamQuestionHasItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 3)
		p := sdktest.Start(t, stuck(ended))
		st := sdktest.OpenStream(t, p)
		begin := time.Now()
		st.Ask(question(1, numberA, 2*time.Second), question(2, numberA, 100*time.Millisecond))
		st.Ask(question(3, numberA, time.Hour)) // cut to a minute
		for _, want := range []struct {
			id uint64
			at time.Duration
		}{{2, 90 * time.Millisecond}, {1, 1950 * time.Millisecond}, {3, time.Minute - 50*time.Millisecond}} {
			frame, err := st.Answers()
			if err != nil || len(frame) != 1 {
				t.Fatalf("frame = %v, %v", frame, err)
			}
			// It may wait to be gathered.
			if at := time.Since(begin); frame[0].GetItemId() != want.id || at < want.at || at > want.at+5*time.Millisecond {
				t.Errorf("item %d at %v, want %d at %v", frame[0].GetItemId(), at, want.id, want.at)
			}
			if s := frame[0].GetAnswer().GetState(); s != notInTime {
				t.Errorf("state = %v", s)
			}
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the handler's context ended with %v", err)
			}
		}
		st.End() // a second answer of any would come now
		if frame, err := st.Answers(); frame != nil || err != nil {
			t.Errorf("after the last: %v, %v", frame, err)
		}
	})
}

func TestStreamWithdrawnQuestionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 3)
		p := sdktest.Start(t, stuck(ended), func(c *sdk.Config) { c.Concurrency = 2 })
		st := sdktest.OpenStream(t, p)
		st.Ask(questions(1, 4, numberA, time.Minute)...) // the third waits for a place
		synctest.Wait()
		st.Withdraw(3, 1, 77)
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context ended with %v", err)
		}
		synctest.Wait()
		st.End()
		answers, _ := st.Collect(3)
		if len(answers) != 1 || answers[2].GetState() != notInTime {
			t.Errorf("answers = %v, want NOT_IN_TIME of 2 alone", answers)
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the handler's context ended with %v", err)
		}
		if len(ended) > 0 {
			t.Error("the handler was asked a withdrawn question")
		}
	})
}

func TestStreamPlaces(t *testing.T) {
	for places, want := range map[int]time.Duration{1: 600, 2: 300, 6: 100, 64: 100} {
		synctest.Test(t, func(t *testing.T) {
			p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
				time.Sleep(100 * time.Millisecond)
				return sdk.Found(), nil
			}), func(c *sdk.Config) { c.Concurrency = places })
			st := sdktest.OpenStream(t, p)
			begin := time.Now()
			st.Ask(questions(0, 6, numberA, time.Minute)...)
			if answers, _ := st.Collect(6); len(answers) != 6 || time.Since(begin) != want*time.Millisecond {
				t.Errorf("6 items of 100ms, %d at a time, took %v of virtual time", places, time.Since(begin))
			}
		})
	}
}

func TestStreamAndCallsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
			time.Sleep(100 * time.Millisecond)
			return sdk.Found(), nil
		}), func(c *sdk.Config) { c.Concurrency = 1 })
		st := sdktest.OpenStream(t, p)
		st.Ask(questions(0, 64, numberA, time.Minute)...)
		synctest.Wait()
		begin := time.Now()
		if _, err := p.LookupBindings(t.Context(), batch(time.Minute, subject(1, numberB))); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 300*time.Millisecond {
			t.Errorf("a call waited %v behind a stream", took)
		}
	})
}

// outcomes are what a handler can do with a number.
func outcomes() map[string]func(context.Context) (sdk.Answer, error) {
	result := func(a sdk.Answer, err error) func(context.Context) (sdk.Answer, error) {
		return func(context.Context) (sdk.Answer, error) { return a, err }
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return map[string]func(context.Context) (sdk.Answer, error){
		"+8613800000010": result(sdk.Found().ReadAt(at), nil),
		"+8613800000011": result(sdk.Found(sdk.Account{Ref: "r"}).ReadAt(at), nil),
		"+8613800000012": result(sdk.Found(sdk.Account{Ref: "r", Product: "商城", BoundAt: at}, sdk.Account{Ref: "s"}).ReadAt(at), nil),
		"+8613800000013": result(sdk.NoData().ReadAt(at), nil),
		"+8613800000014": result(sdk.Found().ReadAt(time.Unix(-1, 5)), nil),
		"+8613800000020": result(sdk.Answer{}, nil),
		"+8613800000021": result(sdk.Found(sdk.Account{}), nil),
		"+8613800000022": result(sdk.Found(sdk.Account{Ref: "r", Product: "\xff"}), nil),
		"+8613800000023": result(sdk.Found(), errors.New("broken")),
		"+8613800000024": result(sdk.Found(), status.Error(codes.Unavailable, "down")),
		"+8613800000025": result(sdk.Found(), status.Error(codes.ResourceExhausted, "busy")),
		"+8613800000026": func(context.Context) (sdk.Answer, error) { panic("lost") },
		"+8613800000027": func(context.Context) (sdk.Answer, error) { runtime.Goexit(); return sdk.Found(), nil },
		"+8613800000028": func(ctx context.Context) (sdk.Answer, error) { <-ctx.Done(); return sdk.Found(), nil },
	}
}

func TestStreamAnswersAsTheCallDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		do := outcomes()
		p := sdktest.Start(t, lookups(func(ctx context.Context, s sdk.Subject) (sdk.Answer, error) {
			return do[s.PhoneNumber](ctx)
		}))
		st := sdktest.OpenStream(t, p)
		var subjects []*connectorv1.Subject
		var items []*connectorv1.StreamItem
		for number := range do {
			id := uint64(len(items))
			items = append(items, question(id, number, time.Second))
			subjects = append(subjects, items[id].GetSubject())
		}
		st.Ask(items...)
		overStream, _ := st.Collect(len(items))
		overCall, err := p.LookupBindings(t.Context(), batch(time.Second, subjects...))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range overCall.GetAnswers() {
			if got := overStream[uint64(i)]; !proto.Equal(got, want) {
				t.Errorf("%s:\nstream %v\ncall   %v", subjects[i].GetPhoneNumber(), got, want)
			}
			if never := subjects[i].GetPhoneNumber()[12] == '2'; never != (want.GetState() == notInTime) {
				t.Errorf("%s: %v", subjects[i].GetPhoneNumber(), want)
			}
		}
	})
}

func TestHandlerThatEndsItsGoroutineHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
			runtime.Goexit()
			return sdk.Found(), nil
		}), func(c *sdk.Config) { c.Concurrency = 2 })
		st := sdktest.OpenStream(t, p)
		begin := time.Now()
		st.Ask(questions(0, 9, numberA, time.Minute)...)
		if answers, _ := st.Collect(9); len(answers) != 9 || time.Since(begin) > 10*time.Millisecond {
			t.Errorf("%d answers after %v", len(answers), time.Since(begin))
		}
	})
}

func TestStreamOverTCP(t *testing.T) {
	const frames, size = 50, 64
	st := sdktest.OpenStream(t, serveTCP(t, lookups(oneAccount)))
	go func() {
		for f := range uint64(frames) {
			st.Ask(questions(f*size, (f+1)*size, numberA, time.Minute)...)
		}
		st.End()
	}()
	answers, _ := st.Collect(frames*size + 1) // until the end
	if len(answers) != frames*size {
		t.Errorf("%d answers, want %d", len(answers), frames*size)
	}
	for id, a := range answers {
		if a.GetState() != bound || !slices.Equal(a.GetSubjectRef(), subject(id, "").GetSubjectRef()) {
			t.Errorf("answer to %d: %v", id, a)
		}
	}
}

func TestStreamCanBeLeftOut(t *testing.T) {
	for _, left := range []bool{false, true} {
		p := sdktest.Start(t, lookups(nothing), func(c *sdk.Config) { c.NoStream = left })
		d, err := p.Describe(t.Context(), &connectorv1.DescribeRequest{})
		if err != nil || d.GetStreamBindings() == left {
			t.Errorf("stream_bindings = %v, %v", d.GetStreamBindings(), err)
		}
		st := sdktest.OpenStream(t, p)
		st.End()
		_, err = st.Answers()
		wantCode(t, err, map[bool]codes.Code{false: codes.OK, true: codes.Unimplemented}[left])
	}
}
