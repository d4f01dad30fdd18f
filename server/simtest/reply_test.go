package simtest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// reply is what a platform answers to an unbind call or to a question.
type reply struct {
	stage  string // as in the contract, without prefix; "" with a code
	reason string // of a refusal
	appeal int    // of which it is said
	at     time.Time
	again  time.Duration // check_after; 0 for none

	malformed int // 0: it is as it should be
	code      codes.Code
	wait      *time.Duration // RetryInfo
}

func failure(c codes.Code) reply { return reply{code: c} }

// String is the reply in a story.
func (r reply) String() string {
	switch {
	case r.code != codes.OK && r.wait != nil:
		return fmt.Sprintf("%v, wait %v", r.code, *r.wait)
	case r.code != codes.OK:
		return r.code.String()
	case r.malformed > 0:
		return "nonsense"
	}
	return strings.TrimSpace(r.stage + " " + r.reason)
}

// word is what the reply says of the order; "" for nothing.
func (r reply) word() string {
	switch {
	case r.code == codes.AlreadyExists:
		return "ALREADY_EXISTS"
	case r.code != codes.OK || r.malformed > 0:
		return ""
	}
	return strings.TrimSpace(r.stage + " " + r.reason)
}

// ends reports whether the reply is an end of the order.
func (r reply) ends() bool {
	return r.code == codes.OK && r.malformed == 0 && (r.stage == "COMPLETED" || r.stage == "REFUSED") || r.code == codes.AlreadyExists
}

// putOff is how long the reply puts the order off, as the contract bounds it; 0
// where it doesn't.
func (r reply) putOff() time.Duration {
	if r.code != codes.ResourceExhausted || r.wait == nil {
		return 0
	}
	return min(max(*r.wait, time.Second), day)
}

// err is the reply as a gRPC error.
func (r reply) err() error {
	if r.code == codes.OK {
		return nil
	}
	s := status.New(r.code, "13800138000 says no")
	if r.wait != nil {
		if with, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(*r.wait)}); err == nil {
			s = with
		}
	}
	return s.Err()
}

// result is the reply as a message.
func (r reply) result() *connectorv1.UnbindResult {
	u := &connectorv1.UnbindResult{State: connectorv1.UnbindState(connectorv1.UnbindState_value["UNBIND_STATE_"+r.stage])}
	if !r.at.IsZero() {
		u.StateTime = timestamppb.New(r.at)
	}
	if r.again != 0 {
		u.CheckAfter = durationpb.New(r.again)
	}
	switch r.stage {
	case "REFUSED":
		u.RefusalReason = connectorv1.RefusalReason(connectorv1.RefusalReason_value["REFUSAL_REASON_"+r.reason])
		u.RefusalText = "账户有余额"
	case "ACTION_REQUIRED":
		u.ActionUrl = page
	}
	switch r.malformed {
	case 1:
		return nil
	case 2:
		u.State = 77
	case 3:
		u.State, u.RefusalReason = connectorv1.UnbindState_UNBIND_STATE_REFUSED, 0
	case 4:
		u.State, u.ActionUrl = connectorv1.UnbindState_UNBIND_STATE_ACTION_REQUIRED, "javascript:alert(1)"
	}
	return u
}

const page = "https://platform.example/unbind"

// report is the reply as the hub reads it, for platforms that are not reached over
// gRPC.
func (r reply) report() (platform.Report, error) {
	switch {
	case r.malformed > 0:
		return platform.Report{}, &platform.CallError{Code: platform.CodeMalformed}
	case r.code != codes.OK:
		e := &platform.CallError{Code: strings.ToUpper(r.code.String())}
		switch r.code {
		case codes.AlreadyExists:
			e.Code = platform.CodeAlreadyExists
		case codes.NotFound:
			e.Code = platform.CodeNotFound
		case codes.ResourceExhausted:
			e.Code, e.RetryAfter = platform.CodeResourceExhausted, r.putOff()
		}
		return platform.Report{}, e
	}
	rep := reportOf(r.stage, r.reason, r.at)
	if r.again != 0 {
		rep.CheckAfter = min(max(r.again, time.Second), day)
	}
	return rep, nil
}

func reportOf(stage, reason string, at time.Time) platform.Report {
	rep := platform.Report{Time: at, RefusalReason: reason}
	if now := time.Now(); at.IsZero() || at.After(now) {
		rep.Time, rep.Untimed = now, true
	}
	switch stage {
	case "COMPLETED":
		rep.Stage = platform.StageCompleted
	case "REFUSED":
		rep.Stage = platform.StageRefused
	case "ACTION_REQUIRED":
		rep.Stage, rep.ActionURL = platform.StageActionRequired, page
	default:
		rep.Stage = platform.StageInReview
	}
	return rep
}
