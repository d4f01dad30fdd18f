package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
)

// TestContextOfAQuestion checks what the context package promises of a context
// on one that is made by hand.
func TestContextOfAQuestion(t *testing.T) {
	type result struct {
		err, childErr, cause error
		ran, stopped         bool
		late                 time.Duration
	}
	for name, withdrawn := range map[string]bool{"its time is over": false, "withdrawn": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				results := make(chan result, 1)
				p := sdktest.Start(t, lookups(func(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
					var r result
					ran := make(chan struct{})
					context.AfterFunc(ctx, func() { close(ran) })
					stop := context.AfterFunc(ctx, func() { t.Error("stopped, yet it ran") })
					r.stopped = stop()
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					gone, cancelGone := context.WithCancel(ctx)
					cancelGone()
					if ctx.Err() != nil || gone.Err() == nil {
						t.Errorf("a child ended its parent: %v, %v", ctx.Err(), gone.Err())
					}
					deadline, _ := child.Deadline()
					<-child.Done()
					<-ran
					r.ran, r.err, r.childErr, r.cause = true, ctx.Err(), child.Err(), context.Cause(child)
					r.late = time.Since(deadline)
					after, cancelAfter := context.WithCancel(ctx) // of one that has ended
					defer cancelAfter()
					<-after.Done()
					results <- r
					return sdk.Found(), nil
				}))
				st := sdktest.OpenStream(t, p)
				st.Ask(question(1, numberA, time.Second))
				synctest.Wait()
				want := context.DeadlineExceeded
				if withdrawn {
					want = context.Canceled
					st.Withdraw(1)
				}
				r := <-results
				if !r.ran || !r.stopped || !errors.Is(r.err, want) || !errors.Is(r.childErr, want) || !errors.Is(r.cause, want) {
					t.Errorf("result = %+v, want %v", r, want)
				}
				if !withdrawn && r.late != 0 {
					t.Errorf("it ended %v after its deadline", r.late)
				}
			})
		})
	}
}

func TestContextEndsWithItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := make(chan context.Context, 1)
		p := sdktest.Start(t, lookups(func(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
			kept <- ctx
			return sdk.Found(), nil
		}))
		st := sdktest.OpenStream(t, p)
		st.Ask(question(1, numberA, time.Second))
		ctx := <-kept
		<-ctx.Done()
		if text := fmt.Sprintf("%v %+v", ctx, ctx); strings.Contains(text, "138") {
			t.Errorf("it prints the number: %s", text)
		}
	})
}

func TestTraceParentReachesTheHandler(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := make(chan string, 1)
	p := sdktest.Start(t, lookups(func(ctx context.Context, _ sdk.Subject) (sdk.Answer, error) {
		got <- sdk.TraceParent(ctx)
		return sdk.Found(), nil
	}))
	st := sdktest.OpenStream(t, p)
	for id, tc := range []struct{ sent, want string }{
		{trace, trace},
		{"", ""},
		{trace + "0", ""},
		{strings.Replace(trace, "a", "\n", 1), ""},
		{strings.Replace(trace, "-", "0", 1), ""},
	} {
		item := question(uint64(id), numberA, time.Minute)
		item.Subject.Traceparent = tc.sent
		st.Ask(item)
		if s := <-got; s != tc.want {
			t.Errorf("stream: %q came as %q", tc.sent, s)
		}
		if _, err := p.LookupBindings(t.Context(), batch(time.Minute, item.GetSubject())); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != tc.want {
			t.Errorf("call: %q came as %q", tc.sent, s)
		}
	}
	if s := sdk.TraceParent(t.Context()); s != "" {
		t.Errorf("of another context: %q", s)
	}
}

func FuzzTraceParent(f *testing.F) {
	form := regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033310-1")
	f.Fuzz(func(t *testing.T, s string) {
		want := ""
		if form.MatchString(s) && !strings.HasSuffix(s, "\n") {
			want = s
		}
		if got := sdk.CleanTraceParent(s); got != want {
			t.Errorf("%q came as %q", s, got)
		}
	})
}
