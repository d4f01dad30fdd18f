package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
)

// TestBreakerText: a time is named only as long as it is to come.
func TestBreakerText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	open := func(until time.Time) *adminv1.PlatformLoad {
		return &adminv1.PlatformLoad{Breaker: "OPEN", BreakerUntil: timestamppb.New(until)}
	}
	for want, l := range map[string]*adminv1.PlatformLoad{
		"not asked before ":                open(now.Add(time.Second)),
		"the next question is let through": open(now),
		"one question was let through":     {Breaker: "HALF_OPEN"},
		"CLOSED":                           {Breaker: "CLOSED"},
	} {
		if got := breakerText(l, now); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", l, got, want)
		}
	}
	if got := breakerText(nil, now); got != "-" {
		t.Errorf("without a breaker: %q", got)
	}
}

// TestMaxBatchUnknown: a platform that never described itself has none; 0 would
// be a figure.
func TestMaxBatchUnknown(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]*adminv1.Platform{
		"-":  {PlatformId: "mall", MaxBatch: 1},
		"64": {PlatformId: "mall", MaxBatch: 64, Functions: []string{"LOOKUP"}},
	} {
		if got := platformTable(p); !slices.ContainsFunc(got, func(row []string) bool { return slices.Equal(row, []string{"max batch", want}) }) {
			t.Errorf("want %q: %q", want, got)
		}
	}
}
