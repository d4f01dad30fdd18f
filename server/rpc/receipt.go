package rpc

import (
	"github.com/tongcha/tongcha/server/receipt"
	"github.com/tongcha/tongcha/server/unbind"
)

// receiptOf is the receipt of an order that has ended, nil for one that is open.
// It is made anew each time it is asked for, from what is on disk: the same end
// gives the same bytes, as long as the key and the platform's name stay.
func (h *handlers) receiptOf(o unbind.Order) *string {
	if !o.State.Final() || h.o.Receipts == nil {
		return nil
	}
	r := receipt.Receipt{
		Issuer: h.o.Issuer, UnbindID: o.ID, Sequence: o.Appeals, PlatformID: string(o.Platform), PlatformName: h.displayName(o.Platform),
		MaskedNumber: o.Number.Masked(), AccountCount: len(o.AccountRefs),
		CreateTime: o.CreateTime, DueTime: o.DueTime, EndTime: o.StateTime, Outcome: o.State.String(),
	}
	switch o.State {
	case unbind.Refused:
		r.Reason, r.RefusalText = o.RefusalReason, o.RefusalText
	case unbind.Abandoned, unbind.Cancelled:
		r.Reason = cause(o)
	}
	jws := h.o.Receipts.Sign(r)
	return &jws
}
