package bolt

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// orderLife is how long an order is kept after its end: 180 days, as long as
// platforms keep theirs.
const orderLife = 180 * day

// entry is one index entry of an order.
type entry struct{ bucket, key, value []byte }

// entries are the index entries that an order has. But for the person's list
// their keys grow with time, so that new ones fill a tree from the right and the
// oldest lie side by side: a change of many orders touches few pages.
func entries(o unbind.Order) []entry {
	if o.ID == "" {
		return nil
	}
	id, at := []byte(o.ID), []byte(o.Platform)
	all := []entry{{bucketOrdersOf, key(o.Subject[:], id), at}}
	switch {
	case !o.State.Final():
		all = append(all,
			entry{bucketOrdersDue, key(at, zero, timeKey(o.NextTime), id), nil},
			entry{bucketOrdersLate, key(timeKey(o.DueTime), id), at})
	case o.State == unbind.Abandoned && !o.Discarded:
		all = append(all, entry{bucketOrdersDead, key(at, zero, timeKey(o.StateTime), id), []byte(o.EndReason())})
	}
	return all
}

// sealOrder seals what the key is needed for.
func (s *Store) sealOrder(o unbind.Order) ([]byte, error) {
	return s.sealFor(bucketOrders, []byte(o.ID), &recordv1.OrderSecret{
		PhoneNumber: o.Number.E164(), AccountRefs: o.AccountRefs, BoundBeforeNanos: nanos(o.BoundBefore),
		RefusalText: o.RefusalText, ActionUrl: o.ActionURL, Note: o.Note,
	})
}

// sameSecret reports whether what sealOrder seals is the same in both.
func sameSecret(a, b unbind.Order) bool {
	return a.Number == b.Number && slices.Equal(a.AccountRefs, b.AccountRefs) && a.BoundBefore.Equal(b.BoundBefore) &&
		a.RefusalText == b.RefusalText && a.ActionURL == b.ActionURL && a.Note == b.Note
}

// orderRecord encodes an order with its sealed part.
func orderRecord(o unbind.Order, sealed []byte) ([]byte, error) {
	r := &recordv1.Order{
		PlatformId: string(o.Platform), Subject: o.Subject[:], NumberIndex: o.NumberIndex[:],
		State: int32(o.State), Attempts: int32(o.Attempts), Polls: int32(o.Polls), Appeals: int32(o.Appeals),
		CreateNanos: nanos(o.CreateTime), OpenNanos: nanos(o.OpenTime), DueNanos: nanos(o.DueTime), NextNanos: nanos(o.NextTime),
		StateNanos: nanos(o.StateTime), HolderCheckNanos: nanos(o.HolderChecked), ReportNanos: nanos(o.ReportTime),
		AppealedOverNanos: nanos(o.AppealedOver), RefusalReason: o.RefusalReason, Run: o.Run, Sent: o.Sent, Discarded: o.Discarded, Sealed: sealed,
	}
	for _, h := range o.History {
		r.History = append(r.History, &recordv1.OrderHistory{
			State: int32(h.State), Nanos: nanos(h.Time), Attempt: int32(h.Attempt), Reason: h.Reason, TookNanos: int64(h.Took),
		})
	}
	return encode(bucketOrders, r)
}

// getOrder reads an order as it is on disk. Errors: fault.UnbindNotFound.
func (s *Store) getOrder(tx *group.Tx, id string) (unbind.Order, error) {
	return s.openOrder(id, tx.Bucket(bucketOrders).Get([]byte(id)))
}

// openOrder decodes and opens a record; nil is none.
// Errors: fault.UnbindNotFound.
func (s *Store) openOrder(id string, raw []byte) (unbind.Order, error) {
	r, err := decodeOrder(id, raw)
	if err != nil {
		return unbind.Order{}, err
	}
	return s.orderOf(id, r)
}

func decodeOrder(id string, raw []byte) (*recordv1.Order, error) {
	if raw == nil {
		return nil, fault.UnbindNotFound.New()
	}
	r := new(recordv1.Order)
	if err := proto.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("store: broken order %s: %w", id, err)
	}
	return r, nil
}

// orderOf opens a record.
func (s *Store) orderOf(id string, r *recordv1.Order) (unbind.Order, error) {
	o, err := frame(id, r)
	if err != nil {
		return unbind.Order{}, err
	}
	secret := new(recordv1.OrderSecret)
	if err := s.openFor(bucketOrders, []byte(id), r.GetSealed(), secret); err != nil {
		return unbind.Order{}, err
	}
	if o.Number, err = phone.ParseNumber(secret.GetPhoneNumber()); err != nil {
		return unbind.Order{}, fmt.Errorf("store: broken order %s: %w", id, err)
	}
	o.AccountRefs, o.BoundBefore = secret.GetAccountRefs(), at(secret.GetBoundBeforeNanos(), secret.GetBoundBefore())
	o.RefusalText, o.ActionURL, o.Note = secret.GetRefusalText(), secret.GetActionUrl(), secret.GetNote()
	return o, nil
}

// frame is what a record says of its order without the key.
func frame(id string, r *recordv1.Order) (unbind.Order, error) {
	if len(r.GetSubject()) != len(phone.Subject{}) || len(r.GetNumberIndex()) != len(phone.Index{}) {
		return unbind.Order{}, fmt.Errorf("store: broken order %s", id)
	}
	o := unbind.Order{
		ID: id, Platform: platform.ID(r.GetPlatformId()), Subject: phone.Subject(r.GetSubject()), NumberIndex: phone.Index(r.GetNumberIndex()),
		State: unbind.State(r.GetState()), Attempts: int(r.GetAttempts()), Polls: int(r.GetPolls()), Appeals: int(r.GetAppeals()),
		CreateTime: at(r.GetCreateNanos(), r.GetCreateTime()), OpenTime: at(r.GetOpenNanos(), r.GetCreateTime()),
		DueTime: at(r.GetDueNanos(), r.GetDueTime()), NextTime: at(r.GetNextNanos(), r.GetNextTime()),
		StateTime: at(r.GetStateNanos(), r.GetStateTime()), HolderChecked: at(r.GetHolderCheckNanos(), r.GetHolderCheckTime()),
		ReportTime: at(r.GetReportNanos(), r.GetReportTime()), AppealedOver: at(r.GetAppealedOverNanos(), nil),
		Run: r.GetRun(), Sent: r.GetSent(), Discarded: r.GetDiscarded(), RefusalReason: r.GetRefusalReason(),
		History: make([]unbind.Step, 0, len(r.GetHistory())),
	}
	for _, h := range r.GetHistory() {
		o.History = append(o.History, unbind.Step{
			State: unbind.State(h.GetState()), Time: at(h.GetNanos(), h.GetTime()), Attempt: int(h.GetAttempt()), Reason: h.GetReason(),
			Took: time.Duration(h.GetTookNanos()),
		})
	}
	return o, nil
}

// nanos turns a time into nanoseconds since 1970; the zero time into 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// at is the inverse of nanos; a record of layout 1 has a timestamp instead.
func at(nanos int64, old *timestamppb.Timestamp) time.Time {
	if nanos == 0 {
		return moment(old)
	}
	return time.Unix(0, nanos).UTC()
}

// shown is the order as people see it: a live lease of an order that waits reads
// as SENDING.
func (s *Store) shown(o unbind.Order, now time.Time) unbind.Order {
	if o.State.Rank() == unbind.Queued.Rank() && s.leases.live(o.ID, now) {
		o.State = unbind.Sending
	}
	return o
}
