package fault_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tongcha/tongcha/server/fault"
)

func TestEveryReason(t *testing.T) {
	internal := []fault.Reason{fault.InternalError, fault.LeaseLost}
	form := regexp.MustCompile(`^[A-Z][A-Z_]*[A-Z]$`)
	seen := make(map[string]fault.Reason)
	for _, r := range fault.Reasons() {
		zh, en := r.Text("zh-CN"), r.Text("en")
		if !form.MatchString(string(r)) {
			t.Errorf("%s is not in UPPER_SNAKE_CASE", r)
		}
		if !strings.ContainsFunc(zh, func(c rune) bool { return unicode.Is(unicode.Han, c) }) || !strings.HasSuffix(zh, "。") {
			t.Errorf("%s: Chinese text %q", r, zh)
		}
		if strings.ContainsFunc(en, func(c rune) bool { return unicode.Is(unicode.Han, c) }) && r != fault.CategoryInvalid || !strings.HasSuffix(en, ".") {
			t.Errorf("%s: English text %q", r, en)
		}
		if (r.Class() == fault.Internal) != slices.Contains(internal, r) {
			t.Errorf("%s has class %d", r, r.Class())
		}
		if r.Text("fr") != en || r.Text("") != en {
			t.Errorf("%s: English is not the default", r)
		}
		if other := seen[en]; other != "" && r.Class() != fault.Internal {
			t.Errorf("%s and %s have one text", r, other)
		}
		seen[en] = r
	}
	none := fault.Reason("NO_SUCH")
	if none.Class() != fault.Internal || none.Text("en") != fault.InternalError.Text("en") || none.Text("zh-CN") != fault.InternalError.Text("zh-CN") {
		t.Error("a reason that is not listed is not internal")
	}
}

// TestConstantsAreListed: every constant has its row in the table.
func TestConstantsAreListed(t *testing.T) {
	src, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`(?m)^\t\w+\s+Reason = "(\w+)"`).FindAllStringSubmatch(string(src), -1)
	listed := fault.Reasons()
	if len(constants) != len(listed) {
		t.Errorf("%d constants, %d rows", len(constants), len(listed))
	}
	for _, c := range constants {
		if !slices.Contains(listed, fault.Reason(c[1])) {
			t.Errorf("%s has no row", c[1])
		}
	}
}

// classes of docs/errors.md.
var classNames = map[fault.Class]string{
	fault.Internal: "Internal", fault.Invalid: "Invalid", fault.Unauthorized: "Unauthorized", fault.Denied: "Denied", fault.NotFound: "NotFound",
	fault.Conflict: "Conflict", fault.Precondition: "Precondition", fault.Exhausted: "Exhausted", fault.Unavailable: "Unavailable",
	fault.Unimplemented: "Unimplemented", fault.Canceled: "Canceled", fault.Timeout: "Timeout",
}

// TestErrorsPage holds docs/errors.md to the code: one row for every reason, with
// its class, and none for anything else.
func TestErrorsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[fault.Reason][]string)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		r := fault.Reason(strings.Trim(cells[1], " `"))
		if rows[r] != nil {
			t.Errorf("%s is there twice", r)
		}
		rows[r] = cells
	}
	for _, r := range fault.Reasons() {
		cells := rows[r]
		if cells == nil {
			t.Errorf("%s is missing", r)
			continue
		}
		if got := strings.TrimSpace(cells[2]); got != classNames[r.Class()] {
			t.Errorf("the page gives %s the class %s, the code %s", r, got, classNames[r.Class()])
		}
		if len(strings.TrimSpace(cells[3])) != 3 || len(strings.TrimSpace(cells[4])) < 10 {
			t.Errorf("the row of %s says too little: %v", r, cells)
		}
		delete(rows, r)
	}
	for r := range rows {
		t.Errorf("the page has %s, the code has not", r)
	}
}

func TestIs(t *testing.T) {
	err := fmt.Errorf("two: %w", fmt.Errorf("one: %w", fault.PhoneInvalid.On("phoneNumber")))
	if !errors.Is(err, fault.PhoneInvalid) || errors.Is(err, fault.CodeInvalid) || errors.Is(err, io.EOF) {
		t.Error("Is takes the wrong reason")
	}
	if joined := errors.Join(io.EOF, err); !errors.Is(joined, fault.PhoneInvalid) || fault.Of(joined).Field != "phoneNumber" {
		t.Error("a joined error is not found")
	}
	wrapped := fault.StoreFailed.Wrap(fmt.Errorf("commit: %w", io.ErrShortWrite))
	if !errors.Is(wrapped, io.ErrShortWrite) || !errors.Is(wrapped, fault.StoreFailed) {
		t.Error("a wrapped cause is lost")
	}
	// An outer fault hides an inner one.
	outer := fault.SMSUnavailable.Wrap(fault.Overloaded.New())
	if fault.Of(outer).Reason != fault.SMSUnavailable || !errors.Is(outer, fault.Overloaded) {
		t.Error("the outer fault does not lead")
	}
}

func TestOf(t *testing.T) {
	if fault.Of(nil) != nil {
		t.Error("nil is a fault")
	}
	e := fault.LookupRate.New().WithRetry(time.Minute)
	if got := fault.Of(fmt.Errorf("x: %w", e)); got != e {
		t.Errorf("Of = %v", got)
	}
	bare := fault.Of(fmt.Errorf("x: %w", fault.DailyLimit))
	if bare.Reason != fault.DailyLimit || bare.Class() != fault.Exhausted {
		t.Errorf("a bare reason is %v", bare)
	}
	other := fault.Of(io.EOF)
	if other.Reason != fault.InternalError || other.Class() != fault.Internal || !errors.Is(other, io.EOF) {
		t.Errorf("any other error is %v", other)
	}
}

func TestCopies(t *testing.T) {
	base := fault.VerificationFailed.New().With("attemptsLeft", "4")
	changed := base.With("attemptsLeft", "3").With("more", "x").WithRetry(time.Second)
	if base.Metadata["attemptsLeft"] != "4" || len(base.Metadata) != 1 || base.RetryAfter != 0 {
		t.Errorf("the shared error was altered: %+v", base)
	}
	if changed.Metadata["attemptsLeft"] != "3" || len(changed.Metadata) != 2 || changed.RetryAfter != time.Second || changed.Reason != fault.VerificationFailed {
		t.Errorf("the copy is %+v", changed)
	}
	cause := fault.CarrierUnavailable.Wrap(io.EOF).WithRetry(time.Second).With("a", "b")
	if !errors.Is(cause, io.EOF) {
		t.Error("a copy loses its cause")
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]error{
		"PHONE_INVALID":               fault.PhoneInvalid.New(),
		"PHONE_INVALID (phoneNumber)": fault.PhoneInvalid.On("phoneNumber"),
		"STORE_FAILED: commit: EOF":   fault.StoreFailed.Wrap(fmt.Errorf("commit: %w", io.EOF)),
		"find: LOOKUP_NOT_FOUND":      fmt.Errorf("find: %w", fault.LookupNotFound.New()),
		"UNBIND_NOT_FOUND":            fault.UnbindNotFound,
	} {
		if err.Error() != want {
			t.Errorf("text %q, want %q", err.Error(), want)
		}
	}
}
