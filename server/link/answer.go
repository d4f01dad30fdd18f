package link

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	maxAccounts = 50
	maxRef      = 64 // bytes
	maxProduct  = 64 // characters

	clockAhead = 10 * time.Minute // how far a platform's clock may be ahead
	staleAfter = time.Hour        // how old an answer may be
)

// checkAnswers reads the answers to a batch. An answer outside the contract is
// malformed and spoils no other, but without one answer for each question nothing
// says which is whose, and all are.
func checkAnswers(taken []*question, answers []*connectorv1.SubjectAnswer, now time.Time) []platform.Answer {
	if len(answers) != len(taken) {
		return all(taken, malformed)
	}
	out := make([]platform.Answer, len(taken))
	for i, a := range answers {
		got, ok := checkAnswer(a, taken[i].ref[:], !taken[i].item.call.HolderSince.IsZero(), now)
		if !ok {
			got = malformed
		}
		out[i] = got
	}
	return out
}

// checkAnswer reads one answer; split tells whether accounts may be placed
// before or since the holder. It reports false for one outside the contract.
func checkAnswer(a *connectorv1.SubjectAnswer, ref []byte, split bool, now time.Time) (platform.Answer, bool) {
	state, known := stateOf(a.GetState())
	if !known || !bytes.Equal(a.GetSubjectRef(), ref) {
		return platform.Answer{}, false
	}
	when, ok := answerTime(a.GetAnswerTime(), now)
	if !ok {
		return platform.Answer{}, false
	}
	n := len(a.GetAccounts())
	if state != platform.Bound {
		return platform.Answer{State: state, AnswerTime: when}, n == 0
	}
	if n == 0 || n > maxAccounts || a.GetAnswerTime() == nil {
		return platform.Answer{}, false
	}
	accounts := make([]platform.Account, n)
	for i, acc := range a.GetAccounts() {
		if accounts[i], ok = checkAccount(acc, split); !ok || names(accounts[:i], accounts[i].Ref) {
			return platform.Answer{}, false
		}
	}
	return platform.Answer{State: state, Accounts: accounts, AnswerTime: when}, true
}

// names reports whether one of the accounts, 50 at most, has the reference.
func names(accounts []platform.Account, ref string) bool {
	return slices.ContainsFunc(accounts, func(a platform.Account) bool { return a.Ref == ref })
}

// stateOf maps a state. NOT_IN_TIME is within the contract, and silence.
func stateOf(s connectorv1.BindingState) (platform.State, bool) {
	switch s {
	case connectorv1.BindingState_BINDING_STATE_BOUND:
		return platform.Bound, true
	case connectorv1.BindingState_BINDING_STATE_NOT_BOUND:
		return platform.NotBound, true
	case connectorv1.BindingState_BINDING_STATE_NO_DATA:
		return platform.NoData, true
	case connectorv1.BindingState_BINDING_STATE_NOT_IN_TIME:
		return platform.Silent, true
	}
	return 0, false
}

// answerTime is when the platform read its records, or now where it doesn't say.
// A replayed answer would be old. A hub that began with the machine's clock behind
// keeps a time that its platforms need not have: what is right by the machine's
// clock is right.
func answerTime(t *timestamppb.Timestamp, now time.Time) (time.Time, bool) {
	if t == nil {
		return now, true
	}
	when := t.AsTime()
	if !t.IsValid() || !fresh(when, now) && !fresh(when, time.Now()) {
		return time.Time{}, false
	}
	return when, true
}

// fresh reports whether an answer of that time may come now.
func fresh(when, now time.Time) bool {
	return !when.After(now.Add(clockAhead)) && !when.Before(now.Add(-staleAfter))
}

func checkAccount(a *connectorv1.Account, split bool) (platform.Account, bool) {
	ref, product := a.GetAccountRef(), a.GetProduct()
	if ref == "" || len(ref) > maxRef || !platform.IsPrintableASCII(ref) || !platform.IsPlainText(product, maxProduct) || platform.HoldsNumber(product) {
		return platform.Account{}, false
	}
	period, ok := periodOf(a.GetPeriod())
	if !split {
		period = platform.PeriodUnknown
	}
	return platform.Account{Ref: ref, Product: product, Period: period}, ok
}

func periodOf(p connectorv1.AccountPeriod) (platform.Period, bool) {
	switch p {
	case connectorv1.AccountPeriod_ACCOUNT_PERIOD_BEFORE_HOLDER:
		return platform.BeforeHolder, true
	case connectorv1.AccountPeriod_ACCOUNT_PERIOD_SINCE_HOLDER:
		return platform.SinceHolder, true
	case connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNKNOWN, connectorv1.AccountPeriod_ACCOUNT_PERIOD_UNSPECIFIED:
		return platform.PeriodUnknown, true
	}
	return 0, false
}
