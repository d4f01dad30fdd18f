//go:build postgres

package postgres

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// row is an order as it is written: the columns that depend on it.
type row struct {
	id, platform string
	subject      []byte
	next         *time.Time
	state        time.Time
	dead         *string
	record       []byte
}

// rowOf seals and encodes an order.
func (s *Store) rowOf(o unbind.Order) (row, error) {
	record, err := s.encode(o)
	if err != nil {
		return row{}, err
	}
	r := row{id: o.ID, platform: string(o.Platform), subject: o.Subject[:], state: o.StateTime, record: record}
	if !o.State.Final() {
		r.next = &o.NextTime
	}
	if o.State == unbind.Abandoned && !o.Discarded {
		reason := endReason(o)
		r.dead = &reason
	}
	return r, nil
}

// endReason is why the order ended, in one word.
func endReason(o unbind.Order) string {
	for i := len(o.History) - 1; i >= 0; i-- {
		if s := o.History[i]; s.State == o.State {
			return s.Reason
		}
	}
	return ""
}

func (s *Store) encode(o unbind.Order) ([]byte, error) {
	secret, err := proto.Marshal(&recordv1.OrderSecret{
		PhoneNumber: o.Number.E164(), AccountRefs: o.AccountRefs, BoundBeforeNanos: nanos(o.BoundBefore),
		RefusalText: o.RefusalText, ActionUrl: o.ActionURL, Note: o.Note,
	})
	if err != nil {
		return nil, fmt.Errorf("store: encode order: %w", err)
	}
	sealed, err := s.keys.Seal(secret, boundTo(o.ID))
	if err != nil {
		return nil, err
	}
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
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("store: encode order: %w", err)
	}
	return b, nil
}

// decode opens a record.
func (s *Store) decode(id string, record []byte) (unbind.Order, error) {
	r, secret := new(recordv1.Order), new(recordv1.OrderSecret)
	if err := proto.Unmarshal(record, r); err != nil {
		return unbind.Order{}, fmt.Errorf("store: broken order %s: %w", id, err)
	}
	plain, err := s.keys.Open(r.GetSealed(), boundTo(id))
	if err != nil {
		return unbind.Order{}, fmt.Errorf("store: order %s: %w", id, err)
	}
	if err := proto.Unmarshal(plain, secret); err != nil {
		return unbind.Order{}, fmt.Errorf("store: broken secret of order %s: %w", id, err)
	}
	number, err := phone.ParseNumber(secret.GetPhoneNumber())
	if err != nil || len(r.GetSubject()) != len(phone.Subject{}) || len(r.GetNumberIndex()) != len(phone.Index{}) {
		return unbind.Order{}, fmt.Errorf("store: broken order %s", id)
	}
	o := unbind.Order{
		ID: id, Platform: platform.ID(r.GetPlatformId()), Subject: phone.Subject(r.GetSubject()), NumberIndex: phone.Index(r.GetNumberIndex()),
		Number: number, AccountRefs: secret.GetAccountRefs(), BoundBefore: at(secret.GetBoundBeforeNanos()),
		State: unbind.State(r.GetState()), Attempts: int(r.GetAttempts()), Polls: int(r.GetPolls()), Appeals: int(r.GetAppeals()),
		CreateTime: at(r.GetCreateNanos()), OpenTime: at(r.GetOpenNanos()), DueTime: at(r.GetDueNanos()), NextTime: at(r.GetNextNanos()),
		StateTime: at(r.GetStateNanos()), HolderChecked: at(r.GetHolderCheckNanos()), ReportTime: at(r.GetReportNanos()),
		AppealedOver: at(r.GetAppealedOverNanos()), Run: r.GetRun(), Sent: r.GetSent(), Discarded: r.GetDiscarded(),
		RefusalReason: r.GetRefusalReason(), RefusalText: secret.GetRefusalText(), ActionURL: secret.GetActionUrl(), Note: secret.GetNote(),
	}
	for _, h := range r.GetHistory() {
		o.History = append(o.History, unbind.Step{
			State: unbind.State(h.GetState()), Time: at(h.GetNanos()), Attempt: int(h.GetAttempt()), Reason: h.GetReason(), Took: time.Duration(h.GetTookNanos()),
		})
	}
	return o, nil
}

// boundTo ties a sealed part to its order.
func boundTo(id string) []byte { return []byte("orders\x00" + id) }

// nanos turns a time into nanoseconds since 1970; the zero time into 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// at is the inverse of nanos.
func at(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// shown is the order as people see it: a live lease of an order that waits reads
// as SENDING.
func shown(o unbind.Order, leased bool) unbind.Order {
	if leased && o.State.Rank() == unbind.Queued.Rank() {
		o.State = unbind.Sending
	}
	return o
}
