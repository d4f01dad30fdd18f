// Package fault classifies what can go wrong into a fixed set of reasons, each
// with a class, a public text in Chinese and English, and room for an internal
// cause that is never shown.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Class says what a caller can do about an error. The transports translate a
// class, never a reason, so a new reason needs no new code there.
type Class uint8

// The classes.
const (
	Internal      Class = iota // our fault; nothing the caller can change
	Invalid                    // correct the request
	Unauthorized               // verify again
	Denied                     // not allowed, whoever asks again
	NotFound                   // no such thing for this caller
	Conflict                   // the same id with another content
	Precondition               // something else has to happen first
	Exhausted                  // too many; wait
	Unavailable                // a part is out of reach; repeat later
	Unimplemented              // no such method
	Canceled                   // the caller left
	Timeout                    // the caller's deadline passed
)

// Error is one error as the outside may see it, plus its hidden cause.
//
// The With… methods return a changed copy, so a shared Error is never altered.
type Error struct {
	Reason Reason
	// Field is the JSON path of the input at fault, such as "phoneNumber" or
	// "platformIds[3]"; never its value.
	Field string
	// RetryAfter is how long to wait before trying again; 0 where waiting does
	// not help.
	RetryAfter time.Duration
	// Metadata is machine-readable detail, such as attemptsLeft.
	Metadata map[string]string

	cause error
}

// New returns an error for the reason.
func (r Reason) New() *Error { return &Error{Reason: r} }

// Wrap returns an error for the reason whose hidden cause is err.
func (r Reason) Wrap(err error) *Error { return &Error{Reason: r, cause: err} }

// On names the input field at fault.
func (r Reason) On(field string) *Error { return &Error{Reason: r, Field: field} }

// WithRetry returns a copy that asks to wait.
func (e *Error) WithRetry(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// With returns a copy with one more piece of metadata.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.Metadata = make(map[string]string, len(e.Metadata)+1)
	for k, v := range e.Metadata {
		c.Metadata[k] = v
	}
	c.Metadata[key] = value
	return &c
}

// Error is for logs: reason, field and cause. It holds nothing a person typed
// as long as causes don't.
func (e *Error) Error() string {
	s := string(e.Reason)
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the hidden cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, fault.PhoneInvalid) true for any error of that reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// Class is the class of the reason.
func (e *Error) Class() Class { return e.Reason.Class() }

// Of returns the first Error in err's chain. An error without one is
// InternalError with err as its cause; nil stays nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var r Reason
	if errors.As(err, &r) {
		return r.Wrap(fmt.Errorf("bare reason: %w", err))
	}
	return InternalError.Wrap(err)
}
