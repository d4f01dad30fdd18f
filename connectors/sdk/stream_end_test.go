package sdk_test

import (
	"context"
	"errors"
	"strings"
	"sync"
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

func TestMalformedFramesEndTheStreamWithoutEcho(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing), func(c *sdk.Config) { c.MaxBatch = 2 })
	const canary = "77413399"
	change := func(f func(*connectorv1.StreamItem)) []*connectorv1.StreamItem {
		item := question(77413399, numberA, time.Second)
		f(item)
		return []*connectorv1.StreamItem{item}
	}
	for name, tc := range map[string]struct {
		items []*connectorv1.StreamItem
		field string
	}{
		"too many":   {questions(1, 4, numberA, time.Second), "items"},
		"no subject": {change(func(i *connectorv1.StreamItem) { i.Subject = nil }), "items[0].subject.subject_ref"},
		"short ref":  {change(func(i *connectorv1.StreamItem) { i.Subject.SubjectRef = []byte(canary) }), "items[0].subject.subject_ref"},
		"landline":   {change(func(i *connectorv1.StreamItem) { i.Subject.PhoneNumber = "+861" + canary }), "items[0].subject.phone_number"},
		"no within":  {change(func(i *connectorv1.StreamItem) { i.AnswerWithinMillis = 0 }), "items[0].answer_within_millis"},
		"twice":      {append(change(func(*connectorv1.StreamItem) {}), change(func(*connectorv1.StreamItem) {})...), "items[1].item_id"},
	} {
		t.Run(name, func(t *testing.T) {
			st := sdktest.OpenStream(t, p)
			st.Ask(tc.items...)
			frame, err := st.Answers()
			wantCode(t, err, codes.InvalidArgument)
			if m := status.Convert(err).Message(); frame != nil || !strings.HasPrefix(m, tc.field+": ") || strings.Contains(m, canary) {
				t.Errorf("frame %v, message %q; want it about %s", frame, m, tc.field)
			}
		})
	}
}

func TestStreamRefusesAnOpenItemID(t *testing.T) {
	p := sdktest.Start(t, stuck(make(chan error, 1)))
	st := sdktest.OpenStream(t, p)
	st.Ask(question(1, numberA, time.Minute))
	st.Ask(question(1, numberB, time.Minute))
	_, err := st.Answers()
	wantCode(t, err, codes.InvalidArgument)
}

func TestStreamBoundsWhatIsOpen(t *testing.T) {
	ended := make(chan error, 1)
	p := sdktest.Start(t, stuck(ended), func(c *sdk.Config) { c.Concurrency, c.MaxBatch = 1, 256 })
	st := sdktest.OpenStream(t, p)
	for id := uint64(0); id <= 1<<14; id += 256 { // one frame more than fits
		st.Ask(questions(id, id+256, numberA, time.Minute)...)
	}
	_, err := st.Answers()
	wantCode(t, err, codes.ResourceExhausted)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context ended with %v", err)
	}
}

func TestStreamRefusesAnOversizedFrame(t *testing.T) {
	p := sdktest.Start(t, lookups(nothing))
	st := sdktest.OpenStream(t, p)
	st.Ask(question(1, strings.Repeat("1", 257<<10), time.Second))
	_, err := st.Answers()
	wantCode(t, err, codes.ResourceExhausted)
}

func TestStreamCutsFramesToSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accounts := make([]sdk.Account, 50)
		for i := range accounts {
			accounts[i] = sdk.Account{Ref: strings.Repeat("r", 64), Product: strings.Repeat("商", 64)}
		}
		p := sdktest.Start(t, lookups(func(context.Context, sdk.Subject) (sdk.Answer, error) {
			time.Sleep(time.Millisecond) // all are ready at once
			return sdk.Found(accounts...), nil
		}))
		st := sdktest.OpenStream(t, p)
		st.Ask(questions(0, 64, numberA, time.Minute)...)
		for got := 0; got < 64; {
			frame, err := st.Answers()
			if err != nil {
				t.Fatal(err)
			}
			got += len(frame)
			if n := proto.Size(&connectorv1.StreamBindingsResponse{Answers: frame}); n > 64<<10 {
				t.Errorf("a frame of %d bytes", n)
			}
		}
	})
}

func TestStreamDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, lookups(func(ctx context.Context, s sdk.Subject) (sdk.Answer, error) {
			if s.PhoneNumber == numberA {
				time.Sleep(time.Second)
				return sdk.Found(), nil
			}
			<-ctx.Done()
			return sdk.Answer{}, ctx.Err()
		}), func(c *sdk.Config) { c.DrainTimeout = 3 * time.Second })
		quick, slow, idle := sdktest.OpenStream(t, p), sdktest.OpenStream(t, p), sdktest.OpenStream(t, p)
		quick.Ask(question(1, numberA, time.Minute))
		slow.Ask(question(1, numberA, time.Minute), question(2, numberB, time.Minute))
		synctest.Wait()
		begin := time.Now()
		var stopped sync.WaitGroup
		stopped.Go(p.Stop)
		synctest.Wait()
		slow.Ask(question(3, numberA, time.Minute)) // too late
		for _, tc := range []struct {
			st      *sdktest.Stream
			answers int
			at      time.Duration
		}{{idle, 0, 0}, {quick, 1, time.Second}, {slow, 1, 3*time.Second - 50*time.Millisecond}} {
			answers, _ := tc.st.Collect(9) // ends with OK
			if at := time.Since(begin); len(answers) != tc.answers || at != tc.at || tc.answers > 0 && answers[1].GetState() != notBound {
				t.Errorf("%v, end at %v; want %d answers, end at %v", answers, at, tc.answers, tc.at)
			}
		}
		stopped.Wait()
	})
}

func TestStreamOfAHubThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 2)
		p := sdktest.Start(t, stuck(ended), func(c *sdk.Config) { c.Concurrency = 1 })
		ctx, hangUp := context.WithCancel(t.Context())
		wire, err := p.StreamBindings(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Send(&connectorv1.StreamBindingsRequest{Items: questions(0, 9, numberA, time.Minute)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		hangUp()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begin) != 0 {
			t.Errorf("the handler's context ended with %v after %v", err, time.Since(begin))
		}
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("the handler was asked for a hub that had left")
		}
	})
}
