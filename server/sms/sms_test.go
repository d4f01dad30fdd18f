package sms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/sms"
	"github.com/tongcha/tongcha/server/verify"
)

const life = 300 * time.Second

func message(t *testing.T) (phone.Number, verify.Code) {
	t.Helper()
	n, err := phone.ParseNumber("13845670002")
	if err != nil {
		t.Fatal(err)
	}
	c, err := verify.ParseCode("918273")
	if err != nil {
		t.Fatal(err)
	}
	return n, c
}

func TestPrinter(t *testing.T) {
	n, c := message(t)
	var out bytes.Buffer
	p := sms.NewPrinter(&out)
	if err := p.SendCode(t.Context(), n, c, life); err != nil {
		t.Fatal(err)
	}
	line := out.String()
	if !strings.HasPrefix(line, "SMS to 138****0002: ") || !strings.Contains(line, " 918273，") || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("printed %q", line)
	}
	for _, part := range []string{"5 分钟", "查询", "请勿告诉任何人"} {
		if !strings.Contains(line, part) {
			t.Errorf("%q lacks %q", line, part)
		}
	}
	if strings.Contains(line, "4567") {
		t.Errorf("the line shows the number: %q", line)
	}
}

// Both are ports of the packages that need them.
var (
	_ verify.Sender   = (*sms.Printer)(nil)
	_ verify.Sender   = (*sms.Webhook)(nil)
	_ lookup.Notifier = (*sms.Printer)(nil)
	_ lookup.Notifier = (*sms.Webhook)(nil)
)

// asked is a lookup of the first minutes of 21 November in Shanghai.
var asked = time.Date(2026, 11, 20, 16, 3, 0, 0, time.UTC)

const lateText = "【通查】您 11 月 21 日的查询，此前未回复的平台现已全部答复，请打开通查查看结果。"

func TestLateAnswersIn(t *testing.T) {
	n, _ := message(t)
	var out bytes.Buffer
	if err := sms.NewPrinter(&out).LateAnswersIn(t.Context(), n, asked); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "SMS to 138****0002: "+lateText+"\n" {
		t.Errorf("printed %q", got)
	}
	got := make(chan map[string]string, 1)
	w, _ := gateway(t, func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]string
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		got <- m
	})
	if err := w.LateAnswersIn(t.Context(), n, asked); err != nil {
		t.Fatal(err)
	}
	if m := <-got; len(m) != 2 || m["to"] != "+8613845670002" || m["text"] != lateText {
		t.Errorf("the gateway got %v", m)
	}
	harmless(t, sms.NewPrinter(fullDisk{}).LateAnswersIn(t.Context(), n, asked))
	w, srv := gateway(t, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	srv.Close()
	harmless(t, w.LateAnswersIn(t.Context(), n, asked))
}

func TestPrinterInParallel(t *testing.T) {
	n, c := message(t)
	var out bytes.Buffer
	p := sms.NewPrinter(&out)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _ = p.SendCode(t.Context(), n, c, life) })
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, l := range lines {
		if l != lines[0] {
			t.Fatalf("torn line %q", l)
		}
	}
	if len(lines) != 50 {
		t.Errorf("%d lines, want 50", len(lines))
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("918273 could not be written") }

func TestPrinterFails(t *testing.T) {
	n, c := message(t)
	harmless(t, sms.NewPrinter(fullDisk{}).SendCode(t.Context(), n, c, life))
}

// harmless wants an error that names neither the number nor the code.
func harmless(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, secret := range []string{"13845670002", "4567", "918273", "s3cret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
}

// gateway is a real server on this machine and a Webhook to it.
func gateway(t *testing.T, handle http.HandlerFunc) (*sms.Webhook, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(handle)
	t.Cleanup(srv.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := sms.NewWebhook(srv.URL+"/send", token)
	if err != nil {
		t.Fatal(err)
	}
	return w, srv
}

func TestWebhook(t *testing.T) {
	n, c := message(t)
	for _, code := range []int{200, 201, 202, 204} {
		got := make(chan string, 1)
		w, _ := gateway(t, func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("Content-Type"), " ", r.Header.Get("Authorization"), " ", string(body))
			rw.WriteHeader(code)
		})
		if err := w.SendCode(t.Context(), n, c, life); err != nil {
			t.Fatalf("%d: %v", code, err)
		}
		head, body, _ := strings.Cut(<-got, " {")
		if head != "POST /send application/json Bearer s3cret" {
			t.Errorf("the gateway got %q", head)
		}
		var m map[string]string
		if err := json.Unmarshal([]byte("{"+body), &m); err != nil || len(m) != 2 || m["to"] != "+8613845670002" || !strings.Contains(m["text"], "918273") {
			t.Errorf("the gateway got %q, %v", body, err)
		}
	}
}

func TestWebhookRefuses(t *testing.T) {
	n, c := message(t)
	for _, code := range []int{400, 401, 404, 429, 500, 503} {
		w, _ := gateway(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(code)
			_, _ = io.WriteString(rw, "no credit for +8613845670002, code 918273")
		})
		harmless(t, w.SendCode(t.Context(), n, c, life))
	}
}

// TestWebhookRedirect: the number goes to nobody that the operator did not name.
func TestWebhookRedirect(t *testing.T) {
	n, c := message(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		reached := make(chan struct{}, 1)
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
		w, _ := gateway(t, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, elsewhere.URL, code) })
		harmless(t, w.SendCode(t.Context(), n, c, life))
		elsewhere.Close()
		if len(reached) > 0 {
			t.Errorf("a %d was followed", code)
		}
	}
}

// expiring is a context whose deadline passes when done is closed.
type expiring struct {
	context.Context
	done chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.done }

func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestWebhookCannotTell: once the gateway may have the message, no answer is no
// error, or whoever hangs up in time could have codes sent without end.
func TestWebhookCannotTell(t *testing.T) {
	n, c := message(t)
	over := make(chan struct{})
	defer close(over)
	late := expiring{Context: t.Context(), done: make(chan struct{})}
	w, _ := gateway(t, func(http.ResponseWriter, *http.Request) { close(late.done); <-over })
	if err := w.SendCode(late, n, c, life); err != nil {
		t.Errorf("a timeout: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w, _ = gateway(t, func(http.ResponseWriter, *http.Request) { cancel(); <-over })
	if err := w.SendCode(ctx, n, c, life); err != nil {
		t.Errorf("the caller hung up: %v", err)
	}

	w, _ = gateway(t, func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	if err := w.SendCode(t.Context(), n, c, life); err != nil {
		t.Errorf("the gateway hung up: %v", err)
	}
}

func TestWebhookNotReached(t *testing.T) {
	n, c := message(t)
	w, srv := gateway(t, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	harmless(t, w.SendCode(ctx, n, c, life))
	srv.Close()
	harmless(t, w.SendCode(t.Context(), n, c, life))

	// A certificate that nobody vouches for: the message is not sent.
	tls := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer tls.Close()
	w, err := sms.NewWebhook(tls.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	harmless(t, w.SendCode(t.Context(), n, c, life))
}

func TestWebhookAddress(t *testing.T) {
	for _, good := range []string{"https://sms.example/send", "http://127.0.0.1:8000/x", "http://localhost/x", "http://[::1]:8000/"} {
		if _, err := sms.NewWebhook(good, ""); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "sms.example", "http://sms.example/send", "http://127.0.0.1.example/", "http://localhost.example/", "ftp://127.0.0.1/", "https://", "://", "file:///etc/passwd", "http://10.0.0.1/"} {
		if _, err := sms.NewWebhook(bad, ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := sms.NewWebhook("https://sms.example/", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a token file that is missing is taken")
	}
}
