package receipt

import (
	"testing"
	"time"
)

// sample is a receipt that uses every member.
func sample() Receipt {
	day := time.Date(2026, 11, 16, 1, 2, 3, 456_000_000, time.FixedZone("CST", 8*60*60))
	return Receipt{
		Issuer: "spiffe://hub.example/hub/main", UnbindID: "01KA0000000000000000000001", Sequence: 1, PlatformID: "mall", PlatformName: "商城 <&>",
		MaskedNumber: "138****0002", AccountCount: 2, CreateTime: day, DueTime: day.AddDate(0, 0, 7), EndTime: day.Add(time.Hour),
		Outcome: "REFUSED", Reason: "HAS_BALANCE", RefusalText: "账户内仍有余额 \"1\" \u2028\\",
	}
}

// read is how the receipt comes back: in UTC, in whole seconds.
func (r Receipt) read() Receipt {
	for _, t := range []*time.Time{&r.CreateTime, &r.DueTime, &r.EndTime} {
		*t = t.UTC().Truncate(time.Second)
	}
	return r
}

func newSigner(t testing.TB) *Signer {
	t.Helper()
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
