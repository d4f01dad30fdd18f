//go:build postgres

package postgres

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/unbind"
)

var _ unbind.DeadLetters = (*Store)(nil)

// place is where a dead letter stands in the list.
type place struct {
	Platform string
	Time     time.Time
	ID       string
}

// DeadLetters implements unbind.DeadLetters.
func (s *Store) DeadLetters(ctx context.Context, q unbind.DeadLetterQuery) ([]unbind.Order, string, error) {
	var after place // the zero one comes before all
	if b, err := base64.RawURLEncoding.DecodeString(q.After); err != nil || json.Unmarshal(b, &after) != nil {
		after = place{}
	}
	var before *time.Time
	if !q.Before.IsZero() {
		before = &q.Before
	}
	rows, err := s.pool.Query(ctx, `
SELECT platform, state_time, id, record FROM orders
WHERE dead_reason IS NOT NULL AND ($1 = '' OR platform = $1) AND ($2 = '' OR dead_reason = $2)
  AND ($3::timestamptz IS NULL OR state_time < $3) AND (platform, state_time, id) > ($4, $5, $6)
ORDER BY platform, state_time, id LIMIT $7`,
		string(q.Platform), q.Reason, before, after.Platform, after.Time, after.ID, q.Limit+1)
	if err != nil {
		return nil, "", failed(ctx, err)
	}
	defer rows.Close()
	var out []unbind.Order
	var last place
	for n := 0; rows.Next(); n++ {
		if n == q.Limit {
			return out, last.token(), nil
		}
		var record []byte
		if err := rows.Scan(&last.Platform, &last.Time, &last.ID, &record); err != nil {
			return nil, "", failed(ctx, err)
		}
		if o, err := s.decode(last.ID, record); err == nil { // a broken one does not keep the others
			out = append(out, o)
		}
	}
	return out, "", failed(ctx, rows.Err())
}

func (p place) token() string {
	b, _ := json.Marshal(p) // can't fail: strings and a time that a database had
	return base64.RawURLEncoding.EncodeToString(b)
}

// Replay implements unbind.DeadLetters.
func (s *Store) Replay(ctx context.Context, id string, t unbind.Transition) (unbind.Order, error) {
	return s.decide(ctx, id, t)
}

// Discard implements unbind.DeadLetters.
func (s *Store) Discard(ctx context.Context, id string, t unbind.Transition) (unbind.Order, error) {
	return s.decide(ctx, id, t)
}

func (s *Store) decide(ctx context.Context, id string, t unbind.Transition) (unbind.Order, error) {
	o, _, err := s.change(ctx, id, t, func(h held) (bool, error) {
		if h.order.State != unbind.Abandoned || h.order.Discarded {
			return false, fault.NotAbandoned.New()
		}
		return false, nil
	})
	return o, err
}
