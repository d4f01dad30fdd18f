package rpc

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// maxPlatforms bounds the platforms of one request.
const maxPlatforms = 512

// maxWait bounds a long poll.
const maxWait = 30 * time.Second

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// parseRequestID checks an optional or required request id.
func parseRequestID(s string, required bool) (string, error) {
	if s == "" && !required {
		return "", nil
	}
	if !requestIDForm.MatchString(s) {
		return "", fault.RequestIDInvalid.On("requestId")
	}
	return s, nil
}

// parsePlatforms reads ids, drops repeats and names the position of a bad one.
// An id of no valid form is unknown like any other.
func parsePlatforms(in []string, required bool) ([]platform.ID, error) {
	if len(in) > maxPlatforms || (required && len(in) == 0) {
		return nil, fault.PlatformsInvalid.On("platformIds")
	}
	seen := make(map[platform.ID]bool, len(in))
	var out []platform.ID
	for i, s := range in {
		id, err := platform.ParseID(s)
		if err != nil {
			return nil, fault.PlatformUnknown.On(fmt.Sprintf("platformIds[%d]", i))
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out, nil
}

func parseWait(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	w := d.AsDuration()
	if d.CheckValid() != nil || w < 0 || w > maxWait {
		return 0, fault.WaitInvalid.On("wait")
	}
	return w, nil
}

// parsePast reads a required time that is not in the future.
func parsePast(ts *timestamppb.Timestamp, field string, now time.Time) (time.Time, error) {
	if ts == nil || ts.CheckValid() != nil || ts.AsTime().After(now.Add(time.Minute)) {
		return time.Time{}, fault.TimeInvalid.On(field)
	}
	return ts.AsTime(), nil
}

// pageSize is what a page holds: the default for 0, never more than most.
func pageSize(asked, usual, most int32) int {
	if asked <= 0 {
		return int(usual)
	}
	return int(min(asked, most))
}

// A page token is the last key of the page before, wrapped so that nobody
// builds on its form.
func pageToken(last string) *string {
	t := base64.RawURLEncoding.EncodeToString([]byte("1:" + last))
	return &t
}

func parsePageToken(t string, valid func(string) bool) (string, error) {
	if t == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(t)
	if err != nil || len(b) < 2 || string(b[:2]) != "1:" || !valid(string(b[2:])) {
		return "", fault.PageTokenInvalid.On("pageToken")
	}
	return string(b[2:]), nil
}

// stamp turns a time into a timestamp with whole milliseconds; the zero time
// into nil.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t.Truncate(time.Millisecond))
}
