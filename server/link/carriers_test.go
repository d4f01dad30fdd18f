package link_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// voter is a carrier with one answer to each question, after a while.
type voter struct {
	attest platform.Attestation
	change platform.HolderChange
	when   time.Time
	err    error
	after  time.Duration
}

func (v voter) wait(ctx context.Context) error {
	timer := time.NewTimer(v.after)
	defer timer.Stop()
	select {
	case <-timer.C:
		return v.err
	case <-ctx.Done():
		return &platform.CallError{Code: "CANCELLED"}
	}
}

func (v voter) Attest(ctx context.Context, _ phone.Number, _ phone.IDSuffix) (platform.Attestation, time.Time, error) {
	if err := v.wait(ctx); err != nil {
		return 0, time.Time{}, err
	}
	return v.attest, v.when, nil
}

func (v voter) CheckHolder(ctx context.Context, _ phone.Number, _ time.Time) (platform.HolderChange, time.Time, error) {
	if err := v.wait(ctx); err != nil {
		return 0, time.Time{}, err
	}
	return v.change, v.when, nil
}

func TestCarriersAttest(t *testing.T) {
	early, late := bubbleStart.AddDate(-2, 0, 0), bubbleStart.AddDate(-1, 0, 0)
	failed := voter{err: &platform.CallError{Code: "UNAVAILABLE"}}
	match, earlier := voter{attest: platform.AttestMatch, when: late}, voter{attest: platform.AttestMatch, when: early}
	mismatch, unknown := voter{attest: platform.AttestMismatch}, voter{}
	slow := func(v voter, d time.Duration) voter { v.after = d; return v }
	for name, c := range map[string]struct {
		list  []platform.Carrier
		want  platform.Attestation
		since time.Time
		fails bool
		took  time.Duration
	}{
		"none":               {nil, platform.AttestUnknown, time.Time{}, false, 0},
		"one":                {[]platform.Carrier{match}, platform.AttestMatch, late, false, 0},
		"match of three":     {[]platform.Carrier{unknown, match, unknown}, platform.AttestMatch, late, false, 0},
		"match wins":         {[]platform.Carrier{mismatch, slow(match, 100*time.Millisecond)}, platform.AttestMatch, late, false, 100 * time.Millisecond},
		"earlier wins":       {[]platform.Carrier{match, earlier, match}, platform.AttestMatch, early, false, 0},
		"mismatch":           {[]platform.Carrier{unknown, mismatch, failed}, platform.AttestMismatch, time.Time{}, false, 0},
		"all unknown":        {[]platform.Carrier{unknown, unknown}, platform.AttestUnknown, time.Time{}, false, 0},
		"one failed":         {[]platform.Carrier{unknown, failed}, platform.AttestUnknown, time.Time{}, true, 0},
		"match, one failed":  {[]platform.Carrier{failed, match}, platform.AttestMatch, late, false, 0},
		"match, one dead":    {[]platform.Carrier{slow(unknown, time.Minute), match}, platform.AttestMatch, late, false, 250 * time.Millisecond},
		"mismatch, one dead": {[]platform.Carrier{slow(unknown, time.Minute), mismatch}, platform.AttestMismatch, time.Time{}, false, 250 * time.Millisecond},
		"slow match":         {[]platform.Carrier{unknown, slow(match, 2*time.Second)}, platform.AttestMatch, late, false, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got, since, err := link.Carriers(c.list).Attest(t.Context(), mobile(t), suffix(t))
			if got != c.want || !since.Equal(c.since) || (err != nil) != c.fails || time.Since(start) != c.took {
				t.Errorf("%s: %v %v %v after %v", name, got, since, err, time.Since(start))
			}
		})
	}
}

func TestCarriersCheckHolder(t *testing.T) {
	horizon := bubbleStart.AddDate(0, 0, -1)
	failed := voter{err: &platform.CallError{Code: "UNAVAILABLE"}}
	same, changed, none := voter{change: platform.ChangeNone, when: horizon}, voter{change: platform.ChangeHands, after: time.Second}, voter{}
	for name, c := range map[string]struct {
		list    []platform.Carrier
		want    platform.HolderChange
		horizon time.Time
		fails   bool
	}{
		"no carrier":        {nil, platform.ChangeNoData, time.Time{}, false},
		"changed wins":      {[]platform.Carrier{same, changed, none}, platform.ChangeHands, time.Time{}, false},
		"same":              {[]platform.Carrier{none, same, failed}, platform.ChangeNone, horizon, false},
		"no data":           {[]platform.Carrier{none, none}, platform.ChangeNoData, time.Time{}, false},
		"no data, one fail": {[]platform.Carrier{none, failed}, platform.ChangeNoData, time.Time{}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			got, when, err := link.Carriers(c.list).CheckHolder(t.Context(), mobile(t), time.Now())
			if got != c.want || !when.Equal(c.horizon) || (err != nil) != c.fails {
				t.Errorf("%s: %v %v %v", name, got, when, err)
			}
		})
	}
}
