package sdk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/tongcha/tongcha/connectors/internal/lines"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// digest binds an order id to its number without keeping the number.
type digest [sha256.Size]byte

func digestOf(orderID, number string) digest {
	return sha256.Sum256([]byte(orderID + "|" + number))
}

// entry is what is known of an order. An outcome with state 0 means that the
// order was taken and its handler has not returned yet, or crashed.
type entry struct {
	digest  digest
	appeal  int // the highest that the handler was run for
	outcome Outcome
}

// appealedBy reports whether a request with that appeal is to be decided anew: the
// hub makes one only of an order that it knows as refused. What was carried out
// stays carried out.
func (e entry) appealedBy(appeal int) bool {
	return appeal > e.appeal && e.outcome.State != 0 && e.outcome.State != StateCompleted
}

// journal remembers orders, in memory and, where it has a file, on disk too.
type journal struct {
	mu      sync.Mutex
	entries map[string]entry
	file    *lines.File // nil: memory only
}

// record is a line of the file. The last line of an order counts.
type record struct {
	OrderID string     `json:"order_id"`
	Digest  string     `json:"digest"`
	Appeal  int        `json:"appeal,omitempty"`
	State   string     `json:"state,omitempty"`
	Reason  string     `json:"refusal_reason,omitempty"`
	Text    string     `json:"refusal_text,omitempty"`
	URL     string     `json:"action_url,omitempty"`
	Time    *time.Time `json:"state_time,omitempty"`
}

// openJournal reads the file back; with an empty path it keeps nothing on disk.
func openJournal(path string) (*journal, error) {
	j := &journal{entries: map[string]entry{}}
	if path == "" {
		return j, nil
	}
	f, err := lines.Open(path, func(line []byte) error {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return errors.New("not a journal line")
		}
		e, err := r.entry()
		if err == nil {
			j.entries[r.OrderID] = e
		}
		return err
	})
	j.file = f
	return j, err
}

func (r record) entry() (entry, error) {
	var e entry
	if n, err := hex.Decode(e.digest[:], []byte(r.Digest)); err != nil || n != len(e.digest) || len(r.Digest) != 2*n {
		return entry{}, errors.New("bad digest")
	}
	if e.appeal = r.Appeal; e.appeal < 0 {
		return entry{}, errors.New("bad appeal")
	}
	e.outcome = Outcome{
		State:  UnbindState(connectorv1.UnbindState_value[r.State]),
		Reason: RefusalReason(connectorv1.RefusalReason_value[r.Reason]),
		Text:   r.Text, URL: r.URL,
	}
	if r.Time != nil {
		e.outcome.Time = *r.Time
	}
	if r.State != "" && e.outcome.check() != nil {
		return entry{}, errors.New("bad outcome")
	}
	return e, nil
}

// get returns what is known of an order.
func (j *journal) get(orderID string) (entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[orderID]
	return e, ok
}

// put remembers an order and returns once that survives a crash.
func (j *journal) put(orderID string, e entry) error {
	if j.file != nil {
		r := record{OrderID: orderID, Digest: hex.EncodeToString(e.digest[:]), Appeal: e.appeal}
		if o := e.outcome; o.State != 0 {
			r.State, r.Text, r.URL = o.State.String(), o.Text, o.URL
			r.Time = &o.Time
			if o.Reason != 0 {
				r.Reason = o.Reason.String()
			}
		}
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := j.file.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[orderID] = e
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
