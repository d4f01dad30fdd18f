package rpc_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

func (w *world) create(r *hubv1.CreateVerificationRequest) (*hubv1.CreateVerificationResponse, error) {
	return w.verification().CreateVerification(w.Context(), r)
}

func TestNumbersAsPeopleTypeThem(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, s := range []string{
			"13912349876", "139 1234 9876", "139-1234-9876", " 13912349876 ", "+8613912349876", "+86 139 1234 9876", "008613912349876",
			"8613912349876", "１３９１２３４９８７６", "＋８６１３９１２３４９８７６", "139　1234　9876",
		} {
			w.secret(s)
			resp, err := w.create(request(s, suffix))
			if err != nil || resp.GetMaskedPhoneNumber() != "139****9876" || w.outbox.to[len(w.outbox.to)-1] != "+8613912349876" {
				w.Errorf("%q: %v %v", s, resp, err)
			}
			w.pass(24 * time.Hour)
		}
	})
}

func TestRefusedNumbers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, s := range []string{
			"", "1391234987", "139123498760", "1391234987600", "10012349876", "12012349876", "02112349876", "4001234987", "+85291234567",
			"+1 391 234 9876", "14812349876", "1064812349876", "17412349876", "139123498a6", "13912349876\r\nX-A: b", "13912349876\n", "\x0013912349876",
			"13912349876\x00", "१३९१२३४९८७६", "13912349876;", "１３９１２３４９８７", "+86+8613912349876", "13912349876 or 1", strings.Repeat("1", 100_000),
		} {
			w.secret(s)
			w.wants(s, w.onlyErr(w.create(request(s, suffix))), "PHONE_INVALID", "phoneNumber")
		}
		if w.outbox.count() != 0 {
			w.Error("a code was sent")
		}
	})
}

func (w *world) onlyErr(_ any, err error) error { return err }

func TestRefusedVerifications(t *testing.T) {
	type r = hubv1.CreateVerificationRequest
	inWorld(t, nil, func(w *world) {
		for what, c := range map[string]struct {
			change        func(*r)
			reason, field string
		}{
			"no suffix":         {func(r *r) { r.IdSuffix = "" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"5 characters":      {func(r *r) { r.IdSuffix = "29876" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"a 15-digit ID":     {func(r *r) { r.IdSuffix = "110101900101987" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"a whole ID":        {func(r *r) { r.IdSuffix = "11010119900129876X" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"no day 32":         {func(r *r) { r.IdSuffix = "32001X" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"a letter inside":   {func(r *r) { r.IdSuffix = "29A76X" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"NUL in the suffix": {func(r *r) { r.IdSuffix = "29876\x00" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"line break":        {func(r *r) { r.IdSuffix = "29876X\nY" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"huge":              {func(r *r) { r.IdSuffix = strings.Repeat("2", 100_000) }, "ID_SUFFIX_INVALID", "idSuffix"},
			"passport, short":   {func(r *r) { r.DocumentType, r.IdSuffix = "PASSPORT", "E1234" }, "ID_SUFFIX_INVALID", "idSuffix"},
			"document type":     {func(r *r) { r.DocumentType = "passport" }, "DOCUMENT_TYPE_INVALID", "documentType"},
			"channel":           {func(r *r) { r.Channel = "VOICE" }, "CHANNEL_UNSUPPORTED", "channel"},
			"no consent":        {func(r *r) { r.Consent = nil }, "CONSENT_REQUIRED", "consent"},
			"no scope":          {func(r *r) { r.Consent.Scopes = nil }, "CONSENT_REQUIRED", "consent"},
			"unbind alone":      {func(r *r) { r.Consent.Scopes = []string{"UNBIND"} }, "CONSENT_REQUIRED", "consent"},
			"unknown scope":     {func(r *r) { r.Consent.Scopes = []string{"LOOKUP", "MARKETING"} }, "CONSENT_REQUIRED", "consent.scopes"},
			"scope's case":      {func(r *r) { r.Consent.Scopes = []string{"lookup"} }, "CONSENT_REQUIRED", "consent.scopes"},
			"a later version":   {func(r *r) { r.Consent.Version = "2" }, "CONSENT_REQUIRED", "consent"},
			"no version":        {func(r *r) { r.Consent.Version = "" }, "CONSENT_REQUIRED", "consent"},
		} {
			req := request(number, suffix)
			c.change(req)
			w.secret(number)
			w.wants(what, w.onlyErr(w.create(req)), c.reason, c.field)
		}
		if w.outbox.count() != 0 {
			w.Error("a code was sent")
		}
		for _, good := range []string{"29876x", " 29876X ", "２９８７６Ｘ"} {
			if _, err := w.create(request(number, good)); err != nil {
				w.Errorf("%q: %v", good, err)
			}
			w.pass(time.Hour)
		}
	})
}

func TestRefusedCodes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		id, code := w.code(request(number, suffix))
		for _, bad := range []string{"", "12345", "1234567", "12345a", "123\n456", "12345\x00", "१२३४५६", "-12345", "1e4000", strings.Repeat("1", 1000)} {
			w.wants(bad, w.onlyErr(w.confirm(id, bad)), "CODE_INVALID", "code")
		}
		for _, unknown := range []string{"", "x", id + "0", strings.ToUpper(id), id[:25] + "\x00", "00000000000000000000000000", strings.Repeat("0", 10_000)} {
			got := w.wants(unknown, w.onlyErr(w.confirm(unknown, code)), "VERIFICATION_FAILED", "")
			if got.meta["attemptsLeft"] != "0" {
				w.Errorf("%q: %v", unknown, got.meta)
			}
		}
		typed := strings.Join(strings.Split(code, ""), " ")
		if _, err := w.confirm(id, typed); err != nil { // what was malformed cost no try
			w.Errorf("the right code, spaced: %v", err)
		}
		w.wants("a replay", w.onlyErr(w.confirm(id, code)), "VERIFICATION_FAILED", "")
	})
}

// wrong is a code that is not the right one.
func wrong(code string) string {
	if code[0] == '9' {
		return "0" + code[1:]
	}
	return string(code[0]+1) + code[1:]
}

func TestTriesBelongToTheNumber(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		id, code := w.code(request(number, suffix))
		left := []string{"4", "3", "2", "1"}
		for _, l := range left {
			if got := w.wants("wrong", w.onlyErr(w.confirm(id, wrong(code))), "VERIFICATION_FAILED", ""); got.meta["attemptsLeft"] != l {
				w.Fatalf("%v left, want %s", got.meta, l)
			}
		}
		w.pass(time.Minute)
		id, code = w.code(request(number, suffix)) // a resend does not renew the tries
		if got := w.tell(w.onlyErr(w.confirm(id, wrong(code)))); got.meta["attemptsLeft"] != "0" {
			w.Fatalf("after a resend: %v", got.meta)
		}
		if got := w.tell(w.onlyErr(w.confirm(id, code))); got.reason != "VERIFICATION_FAILED" {
			w.Fatalf("the 6th try: %s", got.reason)
		}
		w.pass(time.Minute)
		got := w.wants("no tries left", w.onlyErr(w.create(request(number, suffix))), "CODE_RESEND_TOO_SOON", "")
		w.pass(got.retry)
		id, code = w.code(request(number, suffix))
		if _, err := w.confirm(id, code); err != nil {
			w.Fatalf("after the window: %v", err)
		}
	})
}

func TestCodesExpireAndFitOneNumber(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		id, code := w.code(request(number, suffix))
		other, otherCode := w.code(request(otherNumber, suffix))
		if code != otherCode {
			w.wants("the code of another number", w.onlyErr(w.confirm(id, otherCode)), "VERIFICATION_FAILED", "")
		}
		w.pass(299 * time.Second)
		if _, err := w.confirm(id, code); err != nil {
			w.Errorf("after 299 s: %v", err)
		}
		w.pass(time.Second)
		w.wants("after 300 s", w.onlyErr(w.confirm(other, otherCode)), "VERIFICATION_FAILED", "")
	})
}

func TestOneOfManyConfirmsWins(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		id, code := w.code(request(number, suffix))
		var opened, failed int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, err := w.confirm(id, code)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					opened++
				} else if w.tell(err).reason == "VERIFICATION_FAILED" {
					failed++
				}
			})
		}
		all.Wait()
		if opened != 1 || failed != 99 {
			w.Errorf("%d opened, %d failed", opened, failed)
		}
	})
}

func TestCodesPerNumberAndDay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for range 10 {
			w.code(request(number, suffix))
			got := w.wants("at once again", w.onlyErr(w.create(request(number, suffix))), "CODE_RESEND_TOO_SOON", "")
			if got.retry != time.Minute || got.code != codes.ResourceExhausted {
				w.Fatalf("%+v", got)
			}
			w.pass(time.Minute)
		}
		got := w.wants("the 11th", w.onlyErr(w.create(request(number, suffix))), "DAILY_LIMIT", "")
		w.pass(got.retry)
		w.code(request(number, suffix))
	})
}

func TestSenderAndCarrierDown(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.outbox.fail(errDown)
		got := w.wants("no sender", w.onlyErr(w.create(request(number, suffix))), "SMS_UNAVAILABLE", "")
		if got.code != codes.Unavailable || got.retry <= 0 {
			w.Errorf("%+v", got)
		}
		w.outbox.fail(nil)
		id, code := w.code(request(number, suffix)) // at once: what was not sent does not count
		w.carrier.say(func(c *carrier) { c.err = errDown })
		for range 10 {
			w.wants("no carrier", w.onlyErr(w.confirm(id, code)), "CARRIER_UNAVAILABLE", "")
		}
		w.carrier.say(func(c *carrier) { c.err = nil })
		if _, err := w.confirm(id, code); err != nil {
			w.Errorf("the same code once the carrier is back: %v", err)
		}
	})
}

// Nobody learns from an answer which of code and suffix was wrong.
func TestNoEnumeration(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		answers := make(map[string]string)
		for n, c := range map[string]struct{ suffix, what string }{
			"13912340001": {suffix, "wrong code"}, "13912340002": {"01000X", "right code, wrong suffix"}, "13912340003": {"01000X", "both wrong"},
		} {
			id, code := w.code(request(n, c.suffix))
			if c.what != "right code, wrong suffix" {
				code = wrong(code)
			}
			began := time.Now()
			got := w.wants(c.what, w.onlyErr(w.confirm(id, code)), "VERIFICATION_FAILED", "")
			answers[string(got.status)+time.Since(began).String()] = c.what
		}
		if len(answers) != 1 {
			w.Errorf("answers differ: %q", answers)
		}
	})
}

func TestCreateTellsNothingOfTheNumber(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		held, err := w.create(request("13912340001", suffix))
		w.must(err)
		w.carrier.say(func(c *carrier) { c.suffix = "" }) // a number that nobody holds
		unheld, err := w.create(request("13912340002", "01000X"))
		w.must(err)
		if held.GetMaskedPhoneNumber() != "139****0001" || unheld.GetMaskedPhoneNumber() != "139****0002" || len(held.GetVerificationId()) != len(unheld.GetVerificationId()) {
			w.Errorf("%v, %v", held, unheld)
		}
		held.VerificationId, held.MaskedPhoneNumber = unheld.GetVerificationId(), unheld.GetMaskedPhoneNumber()
		if held.String() != unheld.String() {
			w.Errorf("%v is not %v", held, unheld)
		}
	})
}

func TestConfirmOfOneWhoLeft(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		id, code := w.code(request(number, suffix))
		ctx, cancel := context.WithTimeout(w.Context(), time.Nanosecond)
		defer cancel()
		_, err := w.verification().ConfirmVerification(ctx, &hubv1.ConfirmVerificationRequest{VerificationId: id, Code: code})
		if got := w.tell(err); got.code != codes.DeadlineExceeded {
			w.Errorf("a deadline of 1 ns: %v", got.code)
		}
	})
}
