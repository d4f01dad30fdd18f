package rpc

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tongcha/tongcha/server/fault"
)

// Domain is the ErrorInfo domain of every error the hub gives.
const Domain = "tongcha"

// codeOf is the only table from fault classes to gRPC codes.
func codeOf(c fault.Class) codes.Code {
	switch c {
	case fault.Invalid:
		return codes.InvalidArgument
	case fault.Unauthorized:
		return codes.Unauthenticated
	case fault.Denied:
		return codes.PermissionDenied
	case fault.NotFound:
		return codes.NotFound
	case fault.Conflict:
		return codes.AlreadyExists
	case fault.Precondition:
		return codes.FailedPrecondition
	case fault.Exhausted:
		return codes.ResourceExhausted
	case fault.Unavailable:
		return codes.Unavailable
	case fault.Unimplemented:
		return codes.Unimplemented
	case fault.Canceled:
		return codes.Canceled
	case fault.Timeout:
		return codes.DeadlineExceeded
	}
	return codes.Internal
}

// Status is an error as the outside sees it: class and reason, texts in both
// languages, the field at fault, how long to wait. The cause stays inside.
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	f := classify(err)
	st := status.New(codeOf(f.Class()), f.Reason.Text("en"))
	details := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: string(f.Reason), Domain: Domain, Metadata: f.Metadata},
		&errdetails.LocalizedMessage{Locale: "zh-CN", Message: f.Reason.Text("zh-CN")},
		&errdetails.LocalizedMessage{Locale: "en", Message: f.Reason.Text("en")},
	}
	if f.Field != "" {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: f.Field, Description: f.Reason.Text("en"), Reason: string(f.Reason)},
		}})
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	full, derr := st.WithDetails(details...)
	if derr != nil {
		return st // only for OK, which this is not
	}
	return full
}

// classify finds the fault of an error; a context that ended is one too.
func classify(err error) *fault.Error {
	f := fault.Of(err)
	if f.Reason != fault.InternalError {
		return f
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fault.RequestCanceled.Wrap(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.DeadlineExceeded.Wrap(err)
	}
	return f
}
