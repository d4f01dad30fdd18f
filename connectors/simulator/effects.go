package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tongcha/tongcha/connectors/internal/lines"
	"github.com/tongcha/tongcha/connectors/sdk"
)

// Effect is a line of effects.ndjson: what an order did at a platform. There is
// never a second one for the same order and platform.
type Effect struct {
	OrderID     string   `json:"order_id"`
	PlatformID  string   `json:"platform_id"`
	Attempt     int      `json:"attempt"`      // the hub's attempt that did it
	Removed     int      `json:"removed"`      // how many rows; 0 where nothing was left
	AccountRefs []string `json:"account_refs"` // of the rows removed
}

type effectKey struct{ orderID, platformID string }

// effectAt is an effect and the place in the file up to which it must be synced.
type effectAt struct {
	effect Effect
	mark   lines.Mark
}

// Unbind carries an order out at a platform: it removes the rows that the order
// names and covers, and returns once that is on disk. A repeat returns the
// first effect and removes nothing.
func (d *Data) Unbind(platformID string, o sdk.Order) (Effect, error) {
	e, err := d.apply(platformID, o)
	if err != nil {
		return Effect{}, fmt.Errorf("simulator: effect: %w", err)
	}
	// Repeats wait too: the first call may still be waiting for the disk.
	if err := d.effectsFile.Sync(e.mark); err != nil {
		return Effect{}, fmt.Errorf("simulator: effect: %w", err)
	}
	return e.effect, nil
}

// apply writes the effect and then changes the rows, as one step for everybody
// else.
func (d *Data) apply(platformID string, o sdk.Order) (*effectAt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := effectKey{o.ID, platformID}
	if e := d.effects[key]; e != nil {
		return e, nil
	}
	at := place{platformID, o.PhoneNumber}
	e := &effectAt{effect: Effect{OrderID: o.ID, PlatformID: platformID, Attempt: o.Attempt, AccountRefs: []string{}}}
	var stay []account
	for _, a := range d.bound[at] {
		if slices.Contains(o.AccountRefs, a.ref.String()) && o.Covers(a.boundAt) {
			e.effect.AccountRefs = append(e.effect.AccountRefs, a.ref.String())
		} else {
			stay = append(stay, a)
		}
	}
	e.effect.Removed = len(e.effect.AccountRefs)
	line, err := json.Marshal(e.effect)
	if err != nil {
		return nil, err
	}
	if e.mark, err = d.effectsFile.Append(append(line, '\n')); err != nil {
		return nil, err
	}
	d.effects[key] = e
	if len(stay) == 0 {
		delete(d.bound, at)
	} else {
		d.bound[at] = stay
	}
	return e, nil
}

// Effect returns what an order did at a platform, if it was carried out.
func (d *Data) Effect(platformID, orderID string) (Effect, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.effects[effectKey{orderID, platformID}]
	if e == nil {
		return Effect{}, false
	}
	return e.effect, true
}

// replayEffect takes a line in at the start and notes the rows it removed.
func (d *Data) replayEffect(line []byte, removed map[ref]struct{}) error {
	var e Effect
	if err := json.Unmarshal(line, &e); err != nil || e.OrderID == "" || e.PlatformID == "" {
		return errors.New("not an effect")
	}
	key := effectKey{e.OrderID, e.PlatformID}
	if d.effects[key] != nil {
		return errors.New("a second effect of one order")
	}
	for _, s := range e.AccountRefs {
		r, err := parseRef(s)
		if err != nil {
			return errors.New("bad account ref")
		}
		removed[r] = struct{}{}
	}
	d.effects[key] = &effectAt{effect: e} // mark 0: it was read from disk and synced
	return nil
}
