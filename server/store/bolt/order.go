package bolt

import (
	"time"

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
	return tx.Bucket(bucketOrders).Put([]byte(o.ID), record)
}

func moveIndexes(tx *group.Tx, before, o unbind.Order) error {
	isNew, wasOpen, isOpen := before.ID == "", before.ID != "" && !before.State.Final(), !o.State.Final()
	if wasOpen && (!isOpen || !before.NextTime.Equal(o.NextTime)) {
		if err := tx.Bucket(bucketOrdersDue).Delete(dueKey(before)); err != nil {
			return err
		}
	}
	if isOpen && (!wasOpen || !before.NextTime.Equal(o.NextTime)) {
		if err := tx.Bucket(bucketOrdersDue).Put(dueKey(o), nil); err != nil {
			return err
		}
	}
	if isNew {
		if err := tx.Bucket(bucketOrdersOf).Put(key(o.Subject[:], []byte(o.ID)), nil); err != nil {
			return err
		}
	}
	if isOpen == wasOpen {
		return nil
	}
	late, open := key(timeKey(o.DueTime), []byte(o.ID)), key(o.Subject[:], []byte(o.Platform))
	if isOpen {
		if err := tx.Bucket(bucketOrdersLate).Put(late, []byte(o.Platform)); err != nil {
			return err
		}
		return tx.Bucket(bucketOrdersOpen).Put(open, []byte(o.ID))
	}
	if err := tx.Bucket(bucketOrdersLate).Delete(late); err != nil {
		return err
	}
	if string(tx.Bucket(bucketOrdersOpen).Get(open)) != o.ID {
		return nil // a newer order for more accounts took its place
	}
	return tx.Bucket(bucketOrdersOpen).Delete(open)
}

func dueKey(o unbind.Order) []byte {
	return key([]byte(o.Platform), zero, timeKey(o.NextTime), []byte(o.ID))
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
		PhoneNumber: o.Number.E164(), AccountRefs: o.AccountRefs, BoundBefore: stamp(o.BoundBefore),
		RefusalText: o.RefusalText, ActionUrl: o.ActionURL,
	})
	if err != nil {
		return nil, err
	}
	r := &recordv1.Order{
		OrderId: o.ID, PlatformId: string(o.Platform), Subject: o.Subject[:], NumberIndex: o.NumberIndex[:],
		State: int32(o.State), Attempts: int32(o.Attempts), Polls: int32(o.Polls),
		CreateTime: stamp(o.CreateTime), DueTime: stamp(o.DueTime), NextTime: stamp(o.NextTime), StateTime: stamp(o.StateTime),
		RefusalReason: o.RefusalReason, HolderCheckTime: stamp(o.HolderChecked), ReportTime: stamp(o.ReportTime), Run: o.Run, Sent: o.Sent, Sealed: sealed,
	}
	for _, h := range o.History {
		r.History = append(r.History, &recordv1.OrderHistory{State: int32(h.State), Time: stamp(h.Time), Attempt: int32(h.Attempt), Reason: h.Reason})
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
	secret := new(recordv1.OrderSecret)
	if err := s.openFor(bucketOrders, []byte(id), r.GetSealed(), secret); err != nil {
		return unbind.Order{}, err
	}
	n, err := phone.ParseNumber(secret.GetPhoneNumber())
	if err != nil {
		return unbind.Order{}, err
	}
	o := unbind.Order{
		ID: id, Platform: platform.ID(r.GetPlatformId()), Subject: phone.Subject(r.GetSubject()), NumberIndex: phone.Index(r.GetNumberIndex()),
		Number: n, AccountRefs: secret.GetAccountRefs(), BoundBefore: moment(secret.GetBoundBefore()),
		CreateTime: moment(r.GetCreateTime()), DueTime: moment(r.GetDueTime()), State: unbind.State(r.GetState()), StateTime: moment(r.GetStateTime()),
		Attempts: int(r.GetAttempts()), Polls: int(r.GetPolls()), NextTime: moment(r.GetNextTime()), HolderChecked: moment(r.GetHolderCheckTime()),
		ReportTime: moment(r.GetReportTime()), Run: r.GetRun(), Sent: r.GetSent(), RefusalReason: r.GetRefusalReason(), RefusalText: secret.GetRefusalText(), ActionURL: secret.GetActionUrl(),
	}
	for _, h := range r.GetHistory() {
		o.History = append(o.History, unbind.Step{State: unbind.State(h.GetState()), Time: moment(h.GetTime()), Attempt: int(h.GetAttempt()), Reason: h.GetReason()})
	}
	return o, nil
}

// shown is the order as people see it: a live lease of a queued order reads as
// SENDING.
func (s *Store) shown(o unbind.Order, now time.Time) unbind.Order {
	if o.State == unbind.Queued && s.leases.live(o.ID, now) {
		o.State = unbind.Sending
	}
	return o
}
