package rpc_test

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// The person of the stories, and another one. Their digits are canaries.
const (
	number      = "13912349876"
	suffix      = "29876X"
	otherNumber = "13812349875"
)

// told is an error as a client sees it.
type told struct {
	code   codes.Code
	reason string
	field  string
	meta   map[string]string
	retry  time.Duration
	texts  map[string]string
	info   *errdetails.ErrorInfo
	status []byte
}

// tell reads an error and checks what holds for every one: no secret in it, and
// a time to wait where waiting is what helps.
func (w *world) tell(err error) told {
	w.Helper()
	st := status.Convert(err)
	raw, merr := proto.MarshalOptions{Deterministic: true}.Marshal(st.Proto())
	w.must(merr)
	t := told{code: st.Code(), texts: make(map[string]string), status: raw}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			t.reason, t.meta, t.info = d.GetReason(), d.GetMetadata(), d
		case *errdetails.LocalizedMessage:
			t.texts[d.GetLocale()] = d.GetMessage()
		case *errdetails.BadRequest:
			t.field = d.GetFieldViolations()[0].GetField()
		case *errdetails.RetryInfo:
			t.retry = d.GetRetryDelay().AsDuration()
		}
	}
	w.noSecrets("an error", string(raw)+prototext.Format(st.Proto()))
	if t.code == codes.ResourceExhausted && t.retry <= 0 {
		w.Errorf("%s does not say how long to wait", t.reason)
	}
	return t
}

// wants checks the reason and field of an error; "" is none.
func (w *world) wants(what string, err error, reason, field string) told {
	w.Helper()
	t := w.tell(err)
	if t.reason != reason || t.field != field {
		w.Errorf("%s: %v %q on %q, want %q on %q", what, t.code, t.reason, t.field, reason, field)
	}
	return t
}

// request is a valid wish for a code.
func request(number, suffix string, scopes ...string) *hubv1.CreateVerificationRequest {
	if len(scopes) == 0 {
		scopes = []string{"LOOKUP", "UNBIND"}
	}
	return &hubv1.CreateVerificationRequest{PhoneNumber: number, IdSuffix: suffix, Consent: &hubv1.Consent{Version: "1", Scopes: scopes}}
}

// pass lets time pass in the bubble.
func (w *world) pass(d time.Duration) { time.Sleep(d) }

func (w *world) verification() hubv1.VerificationServiceClient {
	return hubv1.NewVerificationServiceClient(w.local)
}

// code asks for a code and returns the verification and the code.
func (w *world) code(r *hubv1.CreateVerificationRequest) (id, code string) {
	w.Helper()
	w.secret(r.GetPhoneNumber(), r.GetIdSuffix())
	resp, err := w.verification().CreateVerification(w.Context(), r)
	w.must(err)
	w.secret(w.outbox.last())
	return resp.GetVerificationId(), w.outbox.last()
}

func (w *world) confirm(id, code string) (*hubv1.ConfirmVerificationResponse, error) {
	return w.verification().ConfirmVerification(w.Context(), &hubv1.ConfirmVerificationRequest{VerificationId: id, Code: code})
}

// person is an open session.
type person struct {
	w       *world
	token   string
	ctx     context.Context
	lookups hubv1.LookupServiceClient
	unbinds hubv1.UnbindServiceClient
}

// verified opens a session.
func (w *world) verified(number, suffix string, scopes ...string) *person {
	w.Helper()
	id, code := w.code(request(number, suffix, scopes...))
	opened, err := w.confirm(id, code)
	w.must(err)
	w.secret(opened.GetSessionToken())
	return w.bearer(opened.GetSessionToken())
}

// person is the one of the stories.
func (w *world) person() *person { w.Helper(); return w.verified(number, suffix) }

func (w *world) bearer(token string) *person {
	return &person{
		w: w, token: token, ctx: metadata.AppendToOutgoingContext(w.Context(), "authorization", "Bearer "+token),
		lookups: hubv1.NewLookupServiceClient(w.local), unbinds: hubv1.NewUnbindServiceClient(w.local),
	}
}

// look starts a lookup of all platforms.
func (p *person) look() *hubv1.Lookup {
	p.w.Helper()
	resp, err := p.lookups.CreateLookup(p.ctx, &hubv1.CreateLookupRequest{})
	p.w.must(err)
	return resp.GetLookup()
}

// order orders unbinds after a lookup and returns what became of each.
func (p *person) order(requestID string, platforms ...string) []*hubv1.NewUnbind {
	p.w.Helper()
	resp, err := p.unbinds.CreateUnbinds(p.ctx, &hubv1.CreateUnbindsRequest{LookupId: p.look().GetLookupId(), PlatformIds: platforms, RequestId: requestID})
	p.w.must(err)
	return resp.GetUnbinds()
}

// orderAt orders one unbind and returns its id.
func (p *person) orderAt(platform string) string {
	p.w.Helper()
	u := p.order("order-"+platform, platform)[0]
	if u.GetUnbindId() == "" {
		p.w.Fatalf("no order at %s: %v", platform, u.GetError())
	}
	return u.GetUnbindId()
}

func (p *person) get(id string) *hubv1.Unbind {
	p.w.Helper()
	resp, err := p.unbinds.GetUnbind(p.ctx, &hubv1.GetUnbindRequest{UnbindId: id})
	p.w.must(err)
	return resp.GetUnbind()
}

// codeOf is the code of an error that gRPC itself makes, without our details.
func codeOf(err error) codes.Code { return status.Code(err) }
