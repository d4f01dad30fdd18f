package bolt

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

// An order lies in one record and up to four index entries; putRecord alone
// writes them, so that they never disagree.

// putOrder replaces an order. before is the order as it is on disk.
func (s *Store) putOrder(tx *group.Tx, before, o unbind.Order) error {
	r, err := s.orderRecord(o)
	if err != nil {
		return err
	}
	return putRecord(tx, before, o, r)
}

// putRecord replaces an order with the record made of it. The ID of before is ""
// for a new one.
func putRecord(tx *group.Tx, before, o unbind.Order, record []byte) error {
	if err := moveIndexes(tx, before, o); err != nil {
		return err
	}
	if err := moveTally(tx, before, o); err != nil {
		return err
	}
	if o.State.Final() {
		if err := expires(tx, o.StateTime.Add(orderLife), bucketOrders, []byte(o.ID)); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketOrders).Put([]byte(o.ID), record)
}

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
		all = append(all, entry{bucketOrdersDead, key(at, zero, timeKey(o.StateTime), id), []byte(endReason(o))})
	}
	return all
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

// moveIndexes takes out the entries that the order has no more and puts in those
// it has since.
func moveIndexes(tx *group.Tx, before, o unbind.Order) error {
	had, has := entries(before), entries(o)
	for _, e := range had {
		if holds(has, e) {
			continue
		}
		if err := tx.Bucket(e.bucket).Delete(e.key); err != nil {
			return err
		}
	}
	for _, e := range has {
		if holds(had, e) {
			continue
		}
		if err := tx.Bucket(e.bucket).Put(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

func holds(all []entry, e entry) bool {
	return slices.ContainsFunc(all, func(x entry) bool {
		return bytes.Equal(x.bucket, e.bucket) && bytes.Equal(x.key, e.key)
	})
}

func moveTally(tx *group.Tx, before, o unbind.Order) error {
	if before.ID != "" && before.State == o.State {
		return nil
	}
	t := new(recordv1.OrderTally)
	if _, err := load(tx, bucketOrderTallies, []byte(o.Platform), t); err != nil {
		return err
	}
	if before.ID != "" {
		*tallyField(t, before.State)--
	}
	*tallyField(t, o.State)++
	if err := tallyDays(tx, before, o); err != nil {
		return err
	}
	return save(tx, bucketOrderTallies, []byte(o.Platform), t)
}

func tallyField(t *recordv1.OrderTally, s unbind.State) *int32 {
	switch s {
	case unbind.Completed:
		return &t.Completed
	case unbind.Refused:
		return &t.Refused
	case unbind.Abandoned:
		return &t.Abandoned
	case unbind.Cancelled:
		return &t.Cancelled
	case unbind.InReview, unbind.ActionRequired:
		return &t.InReview
	}
	return &t.Queued
}

// orderRecord seals and encodes an order.
func (s *Store) orderRecord(o unbind.Order) ([]byte, error) {
	sealed, err := s.sealFor(bucketOrders, []byte(o.ID), &recordv1.OrderSecret{
		PhoneNumber: o.Number.E164(), AccountRefs: o.AccountRefs, BoundBeforeNanos: nanos(o.BoundBefore),
		RefusalText: o.RefusalText, ActionUrl: o.ActionURL, Note: o.Note,
	})
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
	return encode(bucketOrders, r)
}

// getOrder reads an order as it is on disk. Errors: fault.UnbindNotFound.
func (s *Store) getOrder(tx *group.Tx, id string) (unbind.Order, error) {
	r := new(recordv1.Order)
	found, err := load(tx, bucketOrders, []byte(id), r)
	if err != nil {
		return unbind.Order{}, err
	}
	if !found {
		return unbind.Order{}, fault.UnbindNotFound.New()
	}
	return s.orderOf(id, r)
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
