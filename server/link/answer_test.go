package link_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// malformations maps a name to what makes a sound BOUND answer malformed.
func malformations() map[string]func(*connectorv1.SubjectAnswer) {
	account := func(f func(*connectorv1.Account)) func(*connectorv1.SubjectAnswer) {
		return func(a *connectorv1.SubjectAnswer) { f(a.Accounts[0]) }
	}
	at := func(d time.Duration) func(*connectorv1.SubjectAnswer) {
		return func(a *connectorv1.SubjectAnswer) { a.AnswerTime = timestamppb.New(time.Now().Add(d)) }
	}
	return map[string]func(*connectorv1.SubjectAnswer){
		"empty ref":            func(a *connectorv1.SubjectAnswer) { a.SubjectRef = nil },
		"other ref":            func(a *connectorv1.SubjectAnswer) { a.SubjectRef = make([]byte, 16) },
		"longer ref":           func(a *connectorv1.SubjectAnswer) { a.SubjectRef = append(a.SubjectRef, 0) },
		"state unset":          func(a *connectorv1.SubjectAnswer) { a.State = 0 },
		"state 99":             func(a *connectorv1.SubjectAnswer) { a.State = 99 },
		"state -1":             func(a *connectorv1.SubjectAnswer) { a.State = -1 },
		"bound, no accounts":   func(a *connectorv1.SubjectAnswer) { a.Accounts = nil },
		"not bound, accounts":  func(a *connectorv1.SubjectAnswer) { a.State = connectorv1.BindingState_BINDING_STATE_NOT_BOUND },
		"no data, accounts":    func(a *connectorv1.SubjectAnswer) { a.State = connectorv1.BindingState_BINDING_STATE_NO_DATA },
		"not in time, account": func(a *connectorv1.SubjectAnswer) { a.State = connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME },
		"51 accounts":          func(a *connectorv1.SubjectAnswer) { a.Accounts = several(51) },
		"a reference twice":    func(a *connectorv1.SubjectAnswer) { a.Accounts = slices.Repeat(a.Accounts, 2) },
		"200 accounts":         func(a *connectorv1.SubjectAnswer) { a.Accounts = several(200) },
		"a number":             func(a *connectorv1.SubjectAnswer) { a.Accounts[0].Product = "13900000005 张三" },
		"account without ref":  account(func(a *connectorv1.Account) { a.AccountRef = "" }),
		"account ref 65":       account(func(a *connectorv1.Account) { a.AccountRef = strings.Repeat("a", 65) }),
		"account ref control":  account(func(a *connectorv1.Account) { a.AccountRef = "a\n" }),
		"account ref chinese":  account(func(a *connectorv1.Account) { a.AccountRef = "账号" }),
		"product 65":           account(func(a *connectorv1.Account) { a.Product = strings.Repeat("商", 65) }),
		"product control":      account(func(a *connectorv1.Account) { a.Product = "a\x00b" }),
		"product bidi":         account(func(a *connectorv1.Account) { a.Product = "a\u202eb" }),
		"product isolate":      account(func(a *connectorv1.Account) { a.Product = "a\u2066b" }),
		"period 9":             account(func(a *connectorv1.Account) { a.Period = 9 }),
		"period -1":            account(func(a *connectorv1.Account) { a.Period = -1 }),
		"no time":              func(a *connectorv1.SubjectAnswer) { a.AnswerTime = nil },
		"time in 11 min":       at(11 * time.Minute),
		"time in a year":       at(365 * 24 * time.Hour),
		"time 61 min ago":      at(-61 * time.Minute),
		"time invalid":         func(a *connectorv1.SubjectAnswer) { a.AnswerTime.Nanos = -1 },
		"time beyond years":    func(a *connectorv1.SubjectAnswer) { a.AnswerTime.Seconds = 1<<63 - 1 },
	}
}

// Each malformed answer stands in a batch with a sound one, which it must not
// spoil.
func TestMalformedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var spoil func(*connectorv1.SubjectAnswer)
		var hold chan struct{}
		w.connector(&connector{lookup: func(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			if len(r.GetSubjects()) == 1 {
				<-hold
				return answers(r, bound), nil
			}
			out := answers(r, bound)
			spoil(out.Answers[0])
			return out, nil
		}})
		_, p := w.shop()
		for name, f := range malformations() {
			synctest.Wait() // every slot is free
			spoil, hold = f, make(chan struct{})
			fill(t, p, 4, time.Second) // so that the next two share a batch
			bad, good := ask(t, p, time.Minute), ask(t, p, time.Minute)
			synctest.Wait()
			close(hold)
			if a := bad.wait(); a.State != platform.Silent || !a.Malformed || a.Accounts != nil {
				t.Errorf("%s: %+v", name, a)
			}
			if a := good.wait(); a.State != platform.Bound {
				t.Errorf("%s spoiled its neighbour: %+v", name, a)
			}
		}
	})
}

// one asks a platform whose connector answers with f.
func one(t *testing.T, since time.Time, f func(*connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error)) platform.Answer {
	t.Helper()
	var a platform.Answer
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.connector(&connector{lookup: func(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			return f(r)
		}})
		_, p := w.shop()
		q := newQuestion(t, time.Second)
		q.HolderSince = since
		p.Ask(&q.Call)
		a = q.wait()
		if strings.Contains(w.logs.String(), "13800138000") {
			t.Error("a number is in the log")
		}
	})
	return a
}

func TestMalformedResponses(t *testing.T) {
	for name, f := range map[string]func(*connectorv1.LookupBindingsResponse){
		"none":     func(r *connectorv1.LookupBindingsResponse) { r.Answers = nil },
		"too many": func(r *connectorv1.LookupBindingsResponse) { r.Answers = append(r.Answers, r.Answers[0]) },
		"too large": func(r *connectorv1.LookupBindingsResponse) {
			r.Answers[0].Accounts[0].Product = strings.Repeat("a", 300<<10)
		},
		"a million accounts": func(r *connectorv1.LookupBindingsResponse) {
			r.Answers[0].Accounts = slices.Repeat(r.Answers[0].Accounts, 1e5)
		},
	} {
		a := one(t, time.Time{}, func(r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			out := answers(r, bound)
			f(out)
			return out, nil
		})
		if a.State != platform.Silent || !a.Malformed {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// Answers in another order than the subjects carry the wrong references.
func TestOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.connector(&connector{lookup: func(_ context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			time.Sleep(time.Millisecond)
			out := answers(r, bound)
			if n := len(out.Answers); n >= 3 {
				out.Answers[0], out.Answers[n-1] = out.Answers[n-1], out.Answers[0]
			}
			return out, nil
		}})
		_, p := w.shop()
		fill(t, p, 4, time.Second)
		first, middle, last := ask(t, p, time.Second), ask(t, p, time.Second), ask(t, p, time.Second)
		if a, b, c := first.wait(), middle.wait(), last.wait(); !a.Malformed || b.State != platform.Bound || !c.Malformed {
			t.Errorf("%+v %+v %+v", a, b, c)
		}
	})
}

func TestSoundAnswers(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		since  time.Time
		change func(*connectorv1.SubjectAnswer)
		state  platform.State
		period platform.Period
	}{
		"before":       {since, func(*connectorv1.SubjectAnswer) {}, platform.Bound, platform.BeforeHolder},
		"since":        {since, func(a *connectorv1.SubjectAnswer) { a.Accounts[0].Period = 2 }, platform.Bound, platform.SinceHolder},
		"period unset": {since, func(a *connectorv1.SubjectAnswer) { a.Accounts[0].Period = 0 }, platform.Bound, platform.PeriodUnknown},
		"no split":     {time.Time{}, func(*connectorv1.SubjectAnswer) {}, platform.Bound, platform.PeriodUnknown},
		"50 accounts":  {since, func(a *connectorv1.SubjectAnswer) { a.Accounts = several(50) }, platform.Bound, platform.BeforeHolder},
		"limits": {since, func(a *connectorv1.SubjectAnswer) {
			a.Accounts[0].AccountRef, a.Accounts[0].Product = strings.Repeat("~", 64), strings.Repeat("商", 64)
		}, platform.Bound, platform.BeforeHolder},
		"a clock ahead": {since, func(a *connectorv1.SubjectAnswer) { a.AnswerTime.Seconds += 300 }, platform.Bound, platform.BeforeHolder},
		"not bound":     {since, func(a *connectorv1.SubjectAnswer) { a.State, a.Accounts, a.AnswerTime = 2, nil, nil }, platform.NotBound, 0},
		"no data":       {since, func(a *connectorv1.SubjectAnswer) { a.State, a.Accounts = 3, nil }, platform.NoData, 0},
		"not in time":   {since, func(a *connectorv1.SubjectAnswer) { a.State, a.Accounts, a.AnswerTime = 4, nil, nil }, platform.Silent, 0},
	} {
		a := one(t, c.since, func(r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			if got := r.GetSubjects()[0].GetHolderSince() != nil; got == c.since.IsZero() {
				t.Errorf("%s: holder_since sent: %v", name, got)
			}
			out := answers(r, bound)
			c.change(out.Answers[0])
			return out, nil
		})
		if a.State != c.state || a.Malformed || a.AnswerTime.IsZero() {
			t.Errorf("%s: %+v", name, a)
		}
		if len(a.Accounts) > 0 && a.Accounts[0].Period != c.period {
			t.Errorf("%s: %+v", name, a.Accounts)
		}
	}
}

func TestEveryCodeIsSilent(t *testing.T) {
	for code := range codes.Code(17) {
		testCode(t, max(code, 1))
	}
	testCode(t, 99)
}

func testCode(t *testing.T, code codes.Code) {
	t.Helper()
	a := one(t, time.Time{}, func(*connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
		return nil, status.Error(code, fmt.Sprint("number ", number))
	})
	if a.State != platform.Silent || a.Malformed {
		t.Errorf("code %d: %+v", code, a)
	}
}
