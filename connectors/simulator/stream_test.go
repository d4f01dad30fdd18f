package simulator_test

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
	"github.com/tongcha/tongcha/connectors/simulator"
)

func items(from, to uint64, within time.Duration) (out []*connectorv1.StreamItem) {
	for id := from; id < to; id++ {
		out = append(out, &connectorv1.StreamItem{ItemId: id, AnswerWithinMillis: uint32(within.Milliseconds()), Subject: &connectorv1.Subject{
			SubjectRef:  binary.BigEndian.AppendUint64(make([]byte, 8), id),
			PhoneNumber: numberA, HolderSince: timestamppb.New(holderSince()),
		}})
	}
	return out
}

func TestAnswersOverTheStream(t *testing.T) {
	for b, want := range map[simulator.Behaviour]time.Duration{
		simulator.Sync: 0, simulator.Async: 0, simulator.Refusing: 0, simulator.Redirecting: 0,
		simulator.Slow: 1200 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			st := sdktest.OpenStream(t, start(t, simulator.Spec{Behaviour: b}, false))
			begin := time.Now()
			st.Ask(items(1, 2, 3*time.Second)...)
			answers, _ := st.Collect(1)
			wantAccounts(t, answers[1], nil, before, since)
			if took := time.Since(begin); took != want {
				t.Errorf("%s answered after %v of virtual time, want %v", b, took, want)
			}
		})
	}
}

func TestSilentNeverAnswersAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Silent}, false)
		st := sdktest.OpenStream(t, p)
		var end sync.WaitGroup
		var frame []*connectorv1.StreamAnswer
		var err error
		end.Go(func() { frame, err = st.Answers() })
		st.Ask(items(1, 9, time.Second)...)
		time.Sleep(time.Hour)
		synctest.Wait()
		if frame != nil || err != nil {
			t.Errorf("frame = %v, %v", frame, err)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		end.Wait()
		if frame != nil || err != nil {
			t.Errorf("the end: %v, %v", frame, err)
		}
	})
}

func TestFlappingOffersNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{Behaviour: simulator.Flapping}, false)
		_, err := sdktest.OpenStream(t, p).Answers()
		wantCode(t, err, codes.Unimplemented)
	})
}

func TestDelayAndStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, simulator.Spec{
			Behaviour: simulator.Sync, MaxBatch: 256,
			Delay: 20 * time.Millisecond, StragglerShare: 0.25, StragglerDelay: 500 * time.Millisecond,
		}, false)
		st := sdktest.OpenStream(t, p)
		begin := time.Now()
		st.Ask(items(0, 256, 2*time.Second)...)
		early := 0
		for got := 0; got < 256; {
			frame, err := st.Answers()
			if err != nil {
				t.Fatal(err)
			}
			got += len(frame)
			switch at := time.Since(begin).Truncate(10 * time.Millisecond); at {
			case 20 * time.Millisecond:
				early += len(frame)
			case 500 * time.Millisecond:
			default:
				t.Errorf("%d answers after %v", len(frame), at)
			}
		}
		// 64 stragglers are expected; six standard deviations are 42.
		if late := 256 - early; late < 22 || late > 106 {
			t.Errorf("%d stragglers of 256, want about 64", late)
		}
	})
}
