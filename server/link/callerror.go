package link

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tongcha/tongcha/server/platform"
)

// A wait that a platform asks for is kept between these.
const (
	leastWait = time.Second
	mostWait  = 24 * time.Hour
)

// callError is err without any text of the other side.
func callError(err error) *platform.CallError {
	s, _ := status.FromError(err)
	if breach(err) {
		return &platform.CallError{Code: platform.CodeMalformed}
	}
	return &platform.CallError{Code: codeName(s.Code()), RetryAfter: retryAfter(s)}
}

// breach reports whether the call failed on this side because the answer was too
// large or no protobuf message. gRPC has no other sign of it than its text; a
// peer that forges the text only accuses itself.
func breach(err error) bool {
	s, _ := status.FromError(err)
	text, ours := strings.CutPrefix(s.Message(), "grpc: ")
	if !ours {
		return false
	}
	switch s.Code() {
	case codes.ResourceExhausted:
		return strings.HasPrefix(text, "received message larger than max") ||
			strings.HasPrefix(text, "received message after decompression larger than max") ||
			strings.HasPrefix(text, "message after decompression larger than max")
	case codes.Internal:
		return strings.HasPrefix(text, "failed to unmarshal the received message")
	}
	return false
}

// codeName is the name as google.rpc.Code spells it; UNKNOWN for a number that
// isn't listed there.
func codeName(c codes.Code) string {
	names := [...]string{
		codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
		codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: platform.CodeNotFound, codes.AlreadyExists: platform.CodeAlreadyExists,
		codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: platform.CodeResourceExhausted,
		codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
		codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
		codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
	}
	if int64(c) < int64(len(names)) {
		return names[c]
	}
	return names[codes.Unknown]
}

// retryAfter is the wait that the first RetryInfo asks for, kept in bounds; 0
// where there is none.
func retryAfter(s *status.Status) time.Duration {
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.RetryInfo)
		if !ok {
			continue
		}
		if delay := info.GetRetryDelay(); delay.IsValid() {
			return keepWait(delay.AsDuration())
		}
		return 0
	}
	return 0
}

func keepWait(d time.Duration) time.Duration { return min(max(d, leastWait), mostWait) }
