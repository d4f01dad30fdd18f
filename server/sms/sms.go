// Package sms hands messages over for delivery: printed for a demonstration, or
// posted to an operator's own gateway.
package sms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/verify"
)

// text is what the person reads. It names the purpose, as MIIT asks of code
// messages, and warns against passing the code on.
func text(code verify.Code, life time.Duration) string {
	return fmt.Sprintf("【通查】验证码 %s，用于查询您的手机号码绑定了哪些账号，%d 分钟内有效。请勿告诉任何人。", code.Reveal(), int(life.Minutes()))
}

// lateText is what the person reads when the last late answer is in. It names no
// platform: a message on a lock screen is read by others, too.
func lateText(asked time.Time) string {
	t := asked.In(shanghai)
	return fmt.Sprintf("【通查】您 %d 月 %d 日的查询，此前未回复的平台现已全部答复，请打开通查查看结果。", t.Month(), t.Day())
}

// shanghai is the one time zone of all who get a message; it has had no summer
// time since 1991.
var shanghai = time.FixedZone("CST", 8*60*60)

// Printer prints each message as a line "SMS to 138****0002: …". It is for
// demonstrations only: whoever sees the output has the codes.
type Printer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewPrinter returns a Printer to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// SendCode prints the message.
func (p *Printer) SendCode(_ context.Context, to phone.Number, code verify.Code, life time.Duration) error {
	return p.print(to, text(code, life))
}

// LateAnswersIn prints the message.
func (p *Printer) LateAnswersIn(_ context.Context, to phone.Number, asked time.Time) error {
	return p.print(to, lateText(asked))
}

func (p *Printer) print(to phone.Number, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintf(p.w, "SMS to %s: %s\n", to.Masked(), text); err != nil {
		return errors.New("sms: the message could not be printed")
	}
	return nil
}

// Webhook posts each message as JSON {"to":"+86…","text":"…"} to a gateway of
// the operator's, with a bearer token. A 2xx answer means handed over.
type Webhook struct {
	url, token string
	client     *http.Client
}

// webhookTimeout bounds one message.
const webhookTimeout = 5 * time.Second

// NewWebhook returns a Webhook. The address must be https, or http to this
// machine; the token is read from tokenFile.
func NewWebhook(address, tokenFile string) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("--sms-gateway must be a URL such as https://sms.example/send")
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, errors.New("--sms-gateway must be https beyond this machine: the message holds a number and a code")
	}
	w := &Webhook{url: u.String(), client: &http.Client{
		Timeout: webhookTimeout,
		// A redirect would carry the number to somebody the operator did not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if tokenFile != "" {
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--sms-token-file: %w", err)
		}
		w.token = strings.TrimSpace(string(b))
	}
	return w, nil
}

// SendCode posts the message. Once the request was written, no answer is no
// error: the gateway may have the message, and a code that is on its way must
// count, or hanging up in time would make messages free.
func (w *Webhook) SendCode(ctx context.Context, to phone.Number, code verify.Code, life time.Duration) error {
	return w.post(ctx, to, text(code, life))
}

// LateAnswersIn posts the message. As with a code, no answer is no error.
func (w *Webhook) LateAnswersIn(ctx context.Context, to phone.Number, asked time.Time) error {
	return w.post(ctx, to, lateText(asked))
}

func (w *Webhook) post(ctx context.Context, to phone.Number, text string) error {
	body, err := json.Marshal(map[string]string{"to": to.E164(), "text": text})
	if err != nil {
		return errors.New("sms: encode message")
	}
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("sms: make request")
	}
	req.Header.Set("Content-Type", "application/json")
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	resp, err := w.client.Do(req)
	switch {
	case err != nil && wrote.Load():
		return nil
	case err != nil:
		return errors.New("sms: the gateway can't be reached")
	}
	defer func() { _ = resp.Body.Close() }()
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 4 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
		return fmt.Errorf("sms: the gateway refused the message with %d", code)
	default:
		return fmt.Errorf("sms: the gateway answered %d: %w", code, verify.ErrMaybeSent)
	}
}
