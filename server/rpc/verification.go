package rpc

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/verify"
)

// CreateVerification implements hub.v1.VerificationService.
func (h *handlers) CreateVerification(ctx context.Context, r *hubv1.CreateVerificationRequest) (*hubv1.CreateVerificationResponse, error) {
	number, err := phone.ParseNumber(r.GetPhoneNumber())
	if err != nil {
		return nil, err
	}
	document, err := phone.ParseDocumentType(r.GetDocumentType())
	if err != nil {
		return nil, err
	}
	suffix, err := phone.ParseIDSuffix(document, r.GetIdSuffix())
	if err != nil {
		return nil, err
	}
	if c := r.GetChannel(); c != "" && c != "SMS" {
		return nil, fault.ChannelUnsupported.On("channel")
	}
	consent, err := h.parseConsent(r.GetConsent())
	if err != nil {
		return nil, err
	}
	created, err := h.o.Verify.Create(ctx, verify.Request{Number: number, Suffix: suffix, Consent: consent, Address: callerOf(ctx).address})
	if err != nil {
		return nil, err
	}
	return &hubv1.CreateVerificationResponse{
		VerificationId: created.ID, MaskedPhoneNumber: number.Masked(), CodeLength: verify.CodeLength,
		ResendAfter: durationpb.New(created.ResendAfter), ExpireTime: stamp(created.ExpireTime),
	}, nil
}

// parseConsent keeps the scopes we know and refuses others, so that nobody is
// recorded as having agreed to something that does not exist.
func (h *handlers) parseConsent(c *hubv1.Consent) (verify.Consent, error) {
	out := verify.Consent{Version: c.GetVersion(), Recipients: h.recipients()}
	for _, s := range c.GetScopes() {
		if s != verify.ScopeLookup && s != verify.ScopeUnbind {
			return verify.Consent{}, fault.ConsentRequired.On("consent.scopes")
		}
		if !slices.Contains(out.Scopes, s) {
			out.Scopes = append(out.Scopes, s)
		}
	}
	return out, nil
}

// ConfirmVerification implements hub.v1.VerificationService.
func (h *handlers) ConfirmVerification(ctx context.Context, r *hubv1.ConfirmVerificationRequest) (*hubv1.ConfirmVerificationResponse, error) {
	code, err := verify.ParseCode(r.GetCode())
	if err != nil {
		return nil, err
	}
	if !seal.IsID(r.GetVerificationId()) {
		return nil, verify.Failed(verify.Verdict{})
	}
	opened, err := h.o.Verify.Confirm(ctx, r.GetVerificationId(), code)
	if err != nil {
		return nil, err
	}
	return &hubv1.ConfirmVerificationResponse{
		SessionToken: opened.Token.Reveal(), ExpireTime: stamp(opened.Session.ExpireTime),
		MaskedPhoneNumber: opened.Session.Number.Masked(), HolderSince: stamp(opened.Session.HolderSince),
	}, nil
}
