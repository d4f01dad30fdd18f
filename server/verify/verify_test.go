package verify_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/verify"
)

// desk is the verifying part of a hub in a bubble: a real store, a sender that
// keeps what it sent, a carrier that knows one person.
type desk struct {
	*testing.T
	service *verify.Service
	store   *bolt.Store
	options verify.Options
	log     bytes.Buffer

	mu      sync.Mutex
	codes   []verify.Code
	sendErr error
	sent    func() // called within SendCode
}

// carrier attests that the suffix is 01123X since a date.
type carrier struct {
	since   time.Time
	err     error
	unknown bool
}

var since = time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC)

func (c *carrier) Attest(_ context.Context, _ phone.Number, s phone.IDSuffix) (platform.Attestation, time.Time, error) {
	switch {
	case c.err != nil:
		return 0, time.Time{}, c.err
	case c.unknown:
		return platform.AttestUnknown, c.since, nil // a date without a match is worth nothing
	case s.Reveal() != "01123X":
		return platform.AttestMismatch, c.since, nil
	}
	return platform.AttestMatch, c.since, nil
}

func (c *carrier) CheckHolder(context.Context, phone.Number, time.Time) (platform.HolderChange, time.Time, error) {
	return platform.ChangeNoData, time.Time{}, nil
}

// atDesk runs a story. c may be nil.
func atDesk(t *testing.T, c platform.Carrier, story func(*desk)) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := &desk{T: t}
		d.check(seal.Create(filepath.Join(dir, "keys.json")))
		keys, err := seal.Load(filepath.Join(dir, "keys.json"))
		d.check(err)
		d.store, err = bolt.Open(filepath.Join(dir, "hub.db"), keys)
		d.check(err)
		d.options = verify.Options{Store: d.store, Sender: d, Carrier: c, MAC: keys, Limits: verify.DefaultLimits(), Logger: slog.New(slog.NewTextHandler(&d.log, nil))}
		d.service = verify.New(d.options)
		story(d)
		d.check(d.store.Close())
	})
}

func (d *desk) check(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) SendCode(_ context.Context, _ phone.Number, code verify.Code, _ time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sent != nil {
		d.sent()
	}
	if d.sendErr != nil {
		return d.sendErr
	}
	d.codes = append(d.codes, code)
	return nil
}

func (d *desk) request(number, suffix string) verify.Request {
	d.Helper()
	n, err := phone.ParseNumber(number)
	d.check(err)
	x, err := phone.ParseIDSuffix(phone.ResidentID, suffix)
	d.check(err)
	return verify.Request{
		Number: n, Suffix: x, Address: "192.0.2.1",
		Consent: verify.Consent{Version: verify.ConsentVersion, Scopes: []string{verify.ScopeLookup}},
	}
}

// ask gets a code, which must be possible.
func (d *desk) ask(suffix string) (string, verify.Code) {
	d.Helper()
	c, err := d.service.Create(d.Context(), d.request("13800130001", suffix))
	d.check(err)
	return c.ID, d.codes[len(d.codes)-1]
}

// other is a code that is not c.
func (d *desk) other(c verify.Code) verify.Code {
	d.Helper()
	wrong := "000000"
	if c.Reveal() == wrong {
		wrong = "111111"
	}
	code, err := verify.ParseCode(wrong)
	d.check(err)
	return code
}

// fails wants a try to fail with so many left.
func (d *desk) fails(id string, c verify.Code, left string) {
	d.Helper()
	_, err := d.service.Confirm(d.Context(), id, c)
	if !errors.Is(err, fault.VerificationFailed) || fault.Of(err).Metadata["attemptsLeft"] != left {
		d.Fatalf("confirm: %v %v, want %s left", err, fault.Of(err), left)
	}
}

func (d *desk) confirm(id string, c verify.Code) verify.Opened {
	d.Helper()
	o, err := d.service.Confirm(d.Context(), id, c)
	d.check(err)
	return o
}

// refused wants a new code to be refused, and for how long.
func (d *desk) refused(r verify.Request, want fault.Reason, retry time.Duration) {
	d.Helper()
	_, err := d.service.Create(d.Context(), r)
	if !errors.Is(err, want) || fault.Of(err).RetryAfter != retry {
		d.Fatalf("create: %v, retry after %v; want %s after %v", err, fault.Of(err), want, retry)
	}
}

func TestConsent(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		for _, c := range []verify.Consent{
			{},
			{Version: "0", Scopes: []string{"LOOKUP"}},
			{Version: "1"},
			{Version: "1", Scopes: []string{"UNBIND"}},
			{Version: "1", Scopes: []string{"lookup"}},
		} {
			r := d.request("13800130001", "01123X")
			r.Consent = c
			d.refused(r, fault.ConsentRequired, 0)
		}
		if len(d.codes) != 0 {
			d.Error("a code was sent without consent")
		}
		d.ask("01123X") // and none of the refusals counts
	})
}

func TestConfirm(t *testing.T) {
	atDesk(t, &carrier{since: since}, func(d *desk) {
		id, code := d.ask("01123X")
		o := d.confirm(id, code)
		if !o.Session.HolderSince.Equal(since) || !o.Session.Agreed(verify.ScopeLookup) || o.Session.Agreed(verify.ScopeUnbind) {
			d.Errorf("session %+v", o.Session)
		}
		s, err := d.service.Session(d.Context(), o.Token)
		d.check(err)
		if s.Subject != o.Session.Subject || s.Number != o.Session.Number {
			d.Errorf("session %+v, opened was %+v", s, o.Session)
		}
		d.fails(id, code, "5") // replay
		d.fails("00000000000000000000000000", code, "0")
	})
}

func TestResend(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		d.ask("01123X")
		time.Sleep(59 * time.Second)
		d.refused(d.request("13800130001", "01123X"), fault.CodeResendTooSoon, time.Second)
		d.refused(d.request("13800130001", "311114"), fault.CodeResendTooSoon, time.Second)
		time.Sleep(time.Second)
		d.ask("01123X")
		d.ask2() // another number waits for nobody
		if len(d.codes) != 3 {
			d.Errorf("%d codes were sent, want 3", len(d.codes))
		}
	})
}

func (d *desk) ask2() (string, verify.Code) {
	d.Helper()
	c, err := d.service.Create(d.Context(), d.request("13800130002", "022345"))
	d.check(err)
	return c.ID, d.codes[len(d.codes)-1]
}

func TestFiveTriesAcrossTwoCodes(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		first, one := d.ask("01123X")
		d.fails(first, d.other(one), "4")
		d.fails(first, d.other(one), "3")
		time.Sleep(time.Minute)
		second, two := d.ask("01123X")
		d.fails(second, d.other(two), "2")
		d.fails(first, d.other(one), "1")
		d.fails(second, d.other(two), "0")
		d.fails(second, two, "0")
		d.fails(first, one, "0")
		time.Sleep(time.Minute)
		d.refused(d.request("13800130001", "01123X"), fault.CodeResendTooSoon, 4*time.Minute)
		time.Sleep(4 * time.Minute)
		third, three := d.ask("01123X")
		d.confirm(third, three)
	})
}

func TestCodeOfAnotherNumber(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		mine, code := d.ask("01123X")
		theirs, other := d.ask2()
		if code.Reveal() != other.Reveal() {
			d.fails(theirs, code, "4")
		}
		d.confirm(mine, code)
	})
}

func TestExpiry(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		id, code := d.ask("01123X")
		time.Sleep(300*time.Second - 1)
		other, code2 := d.ask2()
		_, err := d.service.Session(d.Context(), d.confirm(id, code).Token)
		d.check(err)
		time.Sleep(300 * time.Second)
		d.fails(other, code2, "5")
	})
}

// TestWrongCodeAndWrongSuffix: from outside they are the same.
func TestWrongCodeAndWrongSuffix(t *testing.T) {
	atDesk(t, &carrier{since: since}, func(d *desk) {
		id, code := d.ask("01123X")
		_, wrongCode := d.service.Confirm(d.Context(), id, d.other(code))
		other, code2 := d.ask2()
		_, wrongSuffix := d.service.Confirm(d.Context(), other, code2)
		a, b := fault.Of(wrongCode), fault.Of(wrongSuffix)
		if wrongCode.Error() != wrongSuffix.Error() || a.Metadata["attemptsLeft"] != "4" || b.Metadata["attemptsLeft"] != "4" || a.Field != b.Field || a.RetryAfter != b.RetryAfter {
			d.Errorf("%v %v and %v %v", wrongCode, a.Metadata, wrongSuffix, b.Metadata)
		}
		d.confirm(id, code)        // the right suffix's code is still good
		d.fails(other, code2, "3") // and the other one is burnt, but goes on counting
	})
}

func TestConfirmTakesItsTime(t *testing.T) {
	atDesk(t, &carrier{since: since}, func(d *desk) {
		d.options.Floor = 200 * time.Millisecond
		d.service = verify.New(d.options)
		id, code := d.ask("01123X")
		for _, c := range []verify.Code{d.other(code), code, code} {
			begin := time.Now()
			_, _ = d.service.Confirm(d.Context(), id, c)
			if took := time.Since(begin); took != 200*time.Millisecond {
				d.Errorf("a confirm took %v", took)
			}
		}
	})
}

func TestWrongSuffixesPerDay(t *testing.T) {
	atDesk(t, &carrier{since: since}, func(d *desk) {
		begin := time.Now()
		for range 5 {
			id, code := d.ask("311114")
			_, err := d.service.Confirm(d.Context(), id, code)
			if !errors.Is(err, fault.VerificationFailed) {
				d.Fatalf("a wrong suffix: %v", err)
			}
			time.Sleep(5 * time.Minute)
		}
		d.refused(d.request("13800130001", "01123X"), fault.DailyLimit, 24*time.Hour-time.Since(begin))
		time.Sleep(24*time.Hour - time.Since(begin))
		d.ask("01123X")
	})
}

func TestSenderFails(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		d.sendErr = errors.New("gateway down")
		for range 15 { // more often than codes a day: none of them counts
			_, err := d.service.Create(d.Context(), d.request("13800130001", "01123X"))
			if !errors.Is(err, fault.SMSUnavailable) {
				d.Fatalf("sender down: %v", err)
			}
		}
		d.sendErr = nil
		id, code := d.ask("01123X")
		d.confirm(id, code)
	})
}

// TestCallerLeavesWhileSending: a code that went out counts, though the caller
// has left.
func TestCallerLeavesWhileSending(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		ctx, cancel := context.WithCancel(d.Context())
		d.sent = cancel
		_, err := d.service.Create(ctx, d.request("13800130001", "01123X"))
		d.check(err)
		d.refused(d.request("13800130001", "01123X"), fault.CodeResendTooSoon, time.Minute)
	})
}

func TestCallerLeavesAndSenderFails(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		ctx, cancel := context.WithCancel(d.Context())
		d.sent, d.sendErr = cancel, errors.New("down")
		_, err := d.service.Create(ctx, d.request("13800130001", "01123X"))
		if !errors.Is(err, fault.SMSUnavailable) {
			d.Errorf("sender down: %v", err)
		}
		d.sendErr = nil
		d.ask("01123X") // the gap was given back all the same
	})
}

func TestCarrierDown(t *testing.T) {
	c := &carrier{since: since, err: errors.New("down")}
	atDesk(t, c, func(d *desk) {
		id, code := d.ask("01123X")
		for range 10 {
			for _, x := range []verify.Code{code, d.other(code)} {
				_, err := d.service.Confirm(d.Context(), id, x)
				if !errors.Is(err, fault.CarrierUnavailable) || fault.Of(err).RetryAfter <= 0 {
					d.Fatalf("carrier down: %v", err)
				}
			}
		}
		c.err = nil
		d.fails(id, d.other(code), "4") // no try was spent
		d.confirm(id, code)
	})
}

func TestWithoutAttestation(t *testing.T) {
	for name, c := range map[string]platform.Carrier{"no carrier": nil, "unknown": &carrier{since: since, unknown: true}} {
		t.Run(name, func(t *testing.T) {
			atDesk(t, c, func(d *desk) {
				id, code := d.ask("01123X")
				if o := d.confirm(id, code); !o.Session.HolderSince.IsZero() {
					d.Errorf("holder since %v, though nobody attested it", o.Session.HolderSince)
				}
			})
		})
	}
}
