package bolt

import (
	"bytes"
	"context"
	"encoding/hex"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/store/bolt/group"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.DeadLetters = (*Store)(nil)

// Appeal implements unbind.Orders.
func (s *Store) Appeal(ctx context.Context, subject phone.Subject, id string, t unbind.Transition) (unbind.Order, error) {
	c, err := s.transit(ctx, id, nil, t, func(o unbind.Order) error {
		if o.Subject != subject {
			return fault.UnbindNotFound.New()
		}
		return o.Admits(t)
	})
	return s.shown(c.after, t.Time()), err
}

// Replay implements unbind.DeadLetters.
func (s *Store) Replay(ctx context.Context, id string, t unbind.Transition) (unbind.Order, error) {
	c, err := s.transit(ctx, id, nil, t, isDeadLetter)
	return c.after, err
}

// Discard implements unbind.DeadLetters.
func (s *Store) Discard(ctx context.Context, id string, t unbind.Transition) (unbind.Order, error) {
	c, err := s.transit(ctx, id, nil, t, isDeadLetter)
	return c.after, err
}

func isDeadLetter(o unbind.Order) error {
	if o.State != unbind.Abandoned || o.Discarded {
		return fault.NotAbandoned.New()
	}
	return nil
}

// DeadLetters implements unbind.DeadLetters.
func (s *Store) DeadLetters(ctx context.Context, q unbind.DeadLetterQuery) ([]unbind.Order, string, error) {
	var out []unbind.Order
	var next string
	err := s.db.View(ctx, func(tx *group.Tx) error {
		prefix := []byte(nil)
		if q.Platform != "" {
			prefix = key([]byte(q.Platform), zero)
		}
		from, err := hex.DecodeString(q.After)
		if err != nil || !bytes.HasPrefix(from, prefix) {
			from = prefix
		}
		c := tx.Bucket(bucketOrdersDead).Cursor()
		for k, reason := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, reason = c.Next() {
			_, rest, _ := bytes.Cut(k, zero)
			if q.After != "" && bytes.Equal(k, from) || !q.Before.IsZero() && !keyTime(rest).Before(q.Before) || q.Reason != "" && q.Reason != string(reason) {
				continue
			}
			if len(out) == q.Limit {
				return nil
			}
			o, err := s.getOrder(tx, string(rest[8:]))
			if err != nil {
				continue // a check of the file names it; the others shall not wait for it
			}
			out, next = append(out, o), hex.EncodeToString(k)
		}
		next = ""
		return nil
	})
	return out, next, err
}
